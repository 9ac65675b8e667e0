// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/detail/pool_engine.hpp>

#include <cstddef>
#include <mutex>

namespace kombu::detail {

/// A pool's part in a change of limit.
class PoolResizeParticipant final : public ResizeParticipant {
public:
    PoolResizeParticipant(PoolEngine& engine, std::size_t limit, const ResizeOptions& options)
        : engine_(engine), limit_(limit), options_(options), lock_(engine.table_.mutex(), std::defer_lock) {}
    PoolResizeParticipant(const PoolResizeParticipant&) = delete;
    PoolResizeParticipant& operator=(const PoolResizeParticipant&) = delete;
    ~PoolResizeParticipant() override;

    void lock() override;
    const void* lock_order() const noexcept override { return lock_.mutex(); }
    void check() override;
    void apply() noexcept override;
    void unlock() noexcept override {
        if (lock_.owns_lock()) lock_.unlock();
    }
    void close_removed() noexcept override { engine_.close_evicted(); }

private:
    PoolEngine& engine_;
    std::size_t limit_;
    ResizeOptions options_;
    std::unique_lock<std::mutex> lock_;
    bool retained_ = false;
};

}  // namespace kombu::detail
