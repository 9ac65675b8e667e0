// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/operation.hpp>

#include <atomic>
#include <cstdint>

namespace kombu::net {

/// A socket's entry in the list of sockets that a forked child closes before anything else. A descriptor that an event
/// loop has registered is replaced by one that is always ready: the child's copy of the loop can register it again, and
/// its waiter is woken at once.
class Descriptor {
public:
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    /// Call it after the descriptor was opened. After a fork in between, the child has a copy that it does not use.
    void after_open(async::WaitHandle& handle);
    /// Call it before close(2), so that a child never closes a descriptor number that has been reused.
    void before_close() noexcept;
    /// True in a forked child, which has closed the parent's descriptor.
    bool is_inherited() const noexcept { return epoch_ != kombu::detail::fork_epoch(); }

private:
    std::uint32_t epoch_ = kombu::detail::fork_epoch();
    struct DescriptorEntry* entry_ = nullptr;
    friend struct DescriptorEntry;
};

}  // namespace kombu::net
