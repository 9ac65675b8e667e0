// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

/// fork(), plainly, at any time, from a process whose threads use pools and connections.
///
/// The child starts with empty pools that work; the parent notices nothing. Sockets that the child inherited are closed
/// there by close(2), without a word on them, since they are the parent's. A lease that the child inherited gives
/// nothing back; what it points to throws ConnectionError when it talks to a broker. Pools and groups keep their limits
/// and options. The embedded brokers (`memory://`) are empty in the child. The parent's state stays in the child's
/// memory, unused.
///
/// All of that is set off by a pthread_atfork() child handler that is installed with the first pool or socket: it adds
/// to a counter, marks the parent's pools as such and closes the sockets. It takes no lock and frees nothing.
namespace kombu {

/// For programs that fork only to exec, or that call after_fork_child() themselves: from now on the handler does
/// nothing.
inline void disable_fork_handlers() noexcept {
    detail::process.handlers_disabled.store(true, std::memory_order_relaxed);
}

/// What the handler does, by hand: in the child, before anything else of this library, by its only thread. Does nothing
/// when it has been done for this process.
inline void after_fork_child() noexcept {
    const pid_t inherited = detail::process.pid.load(std::memory_order_relaxed);
    if (inherited != 0 && inherited != ::getpid()) detail::on_fork_child();
}

}  // namespace kombu
