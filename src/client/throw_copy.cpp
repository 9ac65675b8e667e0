// SPDX-License-Identifier: BSD-3-Clause
#include "client/throw_copy.hpp"

#include <stdexcept>

namespace kombu::detail {
namespace {

template <class E>
void throw_if(const OperationalError& error, const std::string& more) {
    const auto* const same = dynamic_cast<const E*>(&error);
    if (!same) return;
    E copy{*same};
    static_cast<std::runtime_error&>(copy) = std::runtime_error{error.what() + more};
    throw copy;
}

/// Derived classes before their bases.
template <class... Errors>
void throw_first(const OperationalError& error, const std::string& more) {
    (throw_if<Errors>(error, more), ...);
}

}  // namespace

void throw_copy(const OperationalError& error, const std::string& more) {
    throw_first<Timeout, AuthenticationError, LoadingError, ReadOnlyError, MovedError, ConnectionError,
                NotEquivalentError, Unroutable, OutOfMemoryError, BusyError, ChannelError, Nacked, BatchError>(error,
                                                                                                               more);
    throw OperationalError(error.what() + more);
}

}  // namespace kombu::detail
