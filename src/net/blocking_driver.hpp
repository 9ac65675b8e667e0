#pragma once

#include <kombu/operation.hpp>

#include <chrono>

namespace kombu::net {

/// A socket that may be read as it is waited for (Wait::into) blocks for so long at most (SO_RCVTIMEO).
constexpr std::chrono::seconds receive_timeout{1};

/// Runs an operation to its end on the caller's thread, and waits there for what it waits for.
void drive(async::OperationHandle operation);

template <class T>
T run(async::Operation<T> operation) {
    drive(operation.handle());
    return operation.result();
}

}  // namespace kombu::net
