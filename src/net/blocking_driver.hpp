// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>

#include <chrono>

namespace kombu::net {

/// SO_RCVTIMEO of the sockets: the longest time that a read in place of a wait (Wait::into) blocks.
constexpr std::chrono::seconds receive_timeout{1};

/// Runs an operation to its end on the caller's thread, which blocks while the operation waits.
void drive(async::OperationHandle operation);

template <class T>
T run(async::Operation<T> operation) {
    if (!operation.is_done()) drive(operation.handle());
    return operation.result();
}

}  // namespace kombu::net
