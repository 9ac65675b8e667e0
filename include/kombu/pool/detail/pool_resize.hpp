// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_state.hpp>

namespace kombu::detail {

/// A pool's part in a change of limit.
template <class T>
class PoolResize final : public ResizeStep {
public:
    PoolResize(PoolState<T>& state, std::size_t limit, const ResizeOptions& options)
        : state_(state), limit_(limit), options_(options), lock_(state.table_.mutex(), std::defer_lock) {}
    PoolResize(const PoolResize&) = delete;
    PoolResize& operator=(const PoolResize&) = delete;
    ~PoolResize() override {
        if (!entered_) return;
        if (!lock_.owns_lock()) lock_.lock();
        state_.leave(std::move(lock_));
    }

    void lock() override {
        lock_.lock();
        ++state_.users_;  // the pool may be destroyed between unlock() and finish()
        entered_ = true;
    }
    const void* place() const noexcept override { return lock_.mutex(); }
    void check() const override {
        const PoolCore& core = state_.core_;
        if (core.closed() || core.may_resize(limit_, options_)) return;
        throw PoolInUse(state_.display_name() + ": cannot shrink while in use: limit " + std::to_string(core.limit()) +
                        ", wanted " + std::to_string(limit_) + ", in use " + std::to_string(core.used() - core.idle()));
    }
    void apply() override {
        if (state_.core_.closed()) return;
        const bool drags = options_.reset || options_.force;
        state_.limit_.store(limit_, std::memory_order_relaxed);
        removed_ = state_.take(state_.core_.set_limit(limit_, options_, state_.now_if_waiting()),
                               drags ? CloseReason::reset : CloseReason::surplus);
    }
    void unlock() noexcept override {
        if (lock_.owns_lock()) lock_.unlock();
    }
    void finish() noexcept override { state_.finish(removed_); }

private:
    PoolState<T>& state_;
    std::size_t limit_;
    ResizeOptions options_;
    std::unique_lock<std::mutex> lock_;
    bool entered_ = false;
    typename PoolState<T>::Removed removed_;
};

}  // namespace kombu::detail
