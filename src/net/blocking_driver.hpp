#pragma once

#include <kombu/operation.hpp>

namespace kombu::net {

/// Runs an operation to its end on the caller's thread, and waits there for what it waits for.
void drive(OperationSteps operation);

template <class T>
T run(Operation<T> operation) {
    drive(operation.steps());
    return operation.result();
}

}  // namespace kombu::net
