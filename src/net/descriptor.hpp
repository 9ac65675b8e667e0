#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/operation.hpp>

#include <atomic>
#include <cstdint>

namespace kombu::net {

/// A socket's entry in the list of those that a forked child closes first thing. One that an event loop has registered
/// is replaced by something that is always ready: the child's copy of the loop can register it again, and whoever waits
/// for it finds out at once.
class Descriptor {
public:
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    /// After the descriptor was made. A fork in between leaves the child a copy that it does not use.
    void opened(async::WaitHandle& handle);
    /// Before close(2), so that the child never closes a number that stands for something else by then.
    void closing() noexcept;
    /// Closed by now: it was the parent's.
    bool is_inherited() const noexcept { return epoch_ != kombu::detail::fork_epoch(); }

private:
    std::uint32_t epoch_ = kombu::detail::fork_epoch();
    struct Entry* entry_ = nullptr;
    friend struct Entry;
};

}  // namespace kombu::net
