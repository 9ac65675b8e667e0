// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

/// \file
/// fork() at any time, in a process whose threads use pools and connections.
///
/// The child starts with empty pools that work; the parent notices nothing. The child closes inherited sockets with
/// close(2) and sends nothing on them, since they belong to the parent. A lease that the child inherited releases
/// nothing. Channels and messages that the child inherited throw ConnectionError; a Connection or Producer connects
/// anew. Pools and groups keep their limits and options. The embedded brokers (`memory://`) are empty in the child.
/// The parent's state stays in the child's memory, unused.
///
/// A pthread_atfork() child handler, installed with the first pool or socket, causes this: it increments a counter,
/// which invalidates the parent's pools and connections, and closes the sockets. It takes no lock and frees nothing.
namespace kombu {

/// Disables the handler from now on. For programs that fork only to exec, or that call after_fork_child() themselves.
inline void disable_fork_handlers() noexcept {
    detail::process.handlers_disabled.store(true, std::memory_order_relaxed);
}

/// Does the work of the handler. To be called in the child, by its only thread, before any other use of this library.
/// Has no effect when it was done for this process already.
inline void after_fork_child() noexcept {
    const pid_t inherited = detail::process.pid.load(std::memory_order_relaxed);
    if (inherited != 0 && inherited != ::getpid()) detail::on_fork_child();
}

}  // namespace kombu
