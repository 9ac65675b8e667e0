// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

struct Stub {};

/// A textbook pool: one mutex, one condition variable, a stack.
class TextbookPool {
public:
    explicit TextbookPool(std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) free_.push_back(std::make_unique<Stub>());
    }

    class Lease {
    public:
        Lease(TextbookPool& pool, std::unique_ptr<Stub> stub) : pool_(&pool), stub_(std::move(stub)) {}
        Lease(Lease&& other) noexcept = default;
        ~Lease() {
            if (stub_) pool_->release(std::move(stub_));
        }

    private:
        TextbookPool* pool_;
        std::unique_ptr<Stub> stub_;
    };

    Lease acquire() {
        std::unique_lock lock{mutex_};
        available_.wait(lock, [&] { return !free_.empty(); });
        auto stub = std::move(free_.back());
        free_.pop_back();
        return {*this, std::move(stub)};
    }

private:
    void release(std::unique_ptr<Stub> stub) {
        {
            std::lock_guard lock{mutex_};
            free_.push_back(std::move(stub));
        }
        available_.notify_one();
    }

    std::mutex mutex_;
    std::condition_variable available_;
    std::vector<std::unique_ptr<Stub>> free_;
};
