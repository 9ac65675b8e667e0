// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace kombu::amqp {

/// The deliveries of a channel that the broker waits for, by their tags, which count up. Acknowledgements may be kept
/// back, so that one frame acknowledges many.
class Unsettled {
public:
    /// The number of deliveries that are not settled, or whose acknowledgement was not taken by take_acknowledged().
    std::size_t size() const noexcept { return size_; }
    void clear() noexcept {
        states_.clear();
        size_ = acknowledged_ = 0;
    }

    /// \return false for a tag that is too low or too high to be the next one
    bool on_delivered(std::uint64_t tag) {
        if (tag < next_ || (!states_.empty() && tag - next_ > max_skipped)) return false;
        if (states_.empty()) first_ = tag;
        next_ = tag + 1;
        states_.resize(static_cast<std::size_t>(tag - first_), State::settled);  // deliveries without acknowledgement
        states_.push_back(State::unsettled);
        ++size_;
        return true;
    }
    /// Whether the delivery can still be settled.
    bool contains(std::uint64_t tag) const noexcept { return has(tag) && state(tag) == State::unsettled; }

    /// For a delivery that is rejected now.
    void remove(std::uint64_t tag) noexcept {
        if (!contains(tag)) return;
        state(tag) = State::settled;
        --size_;
        forget_settled();
    }
    /// Records an acknowledgement that will be sent later.
    void acknowledge(std::uint64_t tag) noexcept {
        if (!contains(tag)) return;
        state(tag) = State::acknowledged;
        if (acknowledged_++ == 0) lowest_acknowledged_ = highest_acknowledged_ = tag;
        lowest_acknowledged_ = std::min(lowest_acknowledged_, tag);
        highest_acknowledged_ = std::max(highest_acknowledged_, tag);
    }
    void acknowledge_until(std::uint64_t tag) noexcept {
        for (std::uint64_t each = first_; has(each) && each <= tag; ++each) acknowledge(each);
    }
    /// The number of recorded acknowledgements.
    std::size_t acknowledged() const noexcept { return acknowledged_; }

    /// What to send for the recorded acknowledgements: with `multiple`, all deliveries up to the tag.
    struct Ack {
        std::uint64_t tag = 0;
        bool multiple = false;
    };
    std::vector<Ack> take_acknowledged() {
        std::vector<Ack> acks;
        if (acknowledged_ == 0) return acks;
        // Everything before the first delivery that is open.
        std::size_t covered = 0, end = 0;
        for (; end < states_.size() && states_[end] != State::unsettled; ++end)
            if (states_[end] == State::acknowledged) {
                ++covered;
                if (acks.empty()) acks.emplace_back();
                acks[0] = {first_ + end, covered > 1};
            }
        // Not from the oldest open delivery on, which may be far back.
        const auto lowest = static_cast<std::size_t>(lowest_acknowledged_ - first_);
        const auto highest = static_cast<std::size_t>(highest_acknowledged_ - first_);
        for (std::size_t at = std::max(lowest, end); at <= highest; ++at)
            if (states_[at] == State::acknowledged) acks.push_back({first_ + at, false});
        for (std::size_t at = lowest; at <= highest; ++at)
            if (states_[at] == State::acknowledged) states_[at] = State::settled;
        size_ -= acknowledged_;
        acknowledged_ = 0;
        forget_settled();
        return acks;
    }

private:
    enum class State : std::uint8_t { settled, unsettled, acknowledged };
    static constexpr std::uint64_t max_skipped = 1'000'000;

    bool has(std::uint64_t tag) const noexcept { return tag >= first_ && tag - first_ < states_.size(); }
    State state(std::uint64_t tag) const noexcept { return states_[static_cast<std::size_t>(tag - first_)]; }
    State& state(std::uint64_t tag) noexcept { return states_[static_cast<std::size_t>(tag - first_)]; }
    void forget_settled() noexcept {
        while (!states_.empty() && states_.front() == State::settled) {
            states_.pop_front();
            ++first_;
        }
    }

    std::uint64_t first_ = 1;  // the tag of the first state
    std::uint64_t next_ = 1;   // the lowest tag that the next delivery may have
    std::uint64_t lowest_acknowledged_ = 0, highest_acknowledged_ = 0;
    std::deque<State> states_{};
    std::size_t size_ = 0, acknowledged_ = 0;
};

}  // namespace kombu::amqp
