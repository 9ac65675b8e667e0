// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace kombu {

/// A queue that keeps its memory: a std::deque allocates and frees blocks all the time while elements pass through it.
template <class T>
class Fifo {
public:
    bool empty() const noexcept { return first_ == items_.size(); }
    std::size_t size() const noexcept { return items_.size() - first_; }
    T& operator[](std::size_t index) noexcept { return items_[first_ + index]; }
    const T& operator[](std::size_t index) const noexcept { return items_[first_ + index]; }
    T& front() noexcept { return items_[first_]; }
    T& back() noexcept { return items_.back(); }
    auto begin() noexcept { return items_.begin() + static_cast<std::ptrdiff_t>(first_); }
    auto end() noexcept { return items_.end(); }

    void push_back(T item) { items_.push_back(std::move(item)); }
    T pop_front() noexcept {
        T item = std::move(items_[first_++]);
        if (empty())
            clear();
        else if (first_ > smallest_move && first_ > items_.size() / 2)
            drop_moved();
        return item;
    }
    void clear() noexcept {
        items_.clear();
        first_ = 0;
    }

private:
    static constexpr std::size_t smallest_move = 64;

    void drop_moved() noexcept {
        items_.erase(items_.begin(), begin());
        first_ = 0;
    }

    std::vector<T> items_{};
    std::size_t first_ = 0;
};

}  // namespace kombu
