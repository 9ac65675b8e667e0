// SPDX-License-Identifier: BSD-3-Clause
#include "client/throw_copy.hpp"

#include <stdexcept>
#include <typeinfo>

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

template <class... Errors>
struct ErrorTypes {
    static void throw_same(const OperationalError& error, const std::string& more) {
        throw_first<Errors...>(error, more);
    }
    static bool contains(const std::type_info& type) noexcept { return ((type == typeid(Errors)) || ...); }
};
using Known = ErrorTypes<Timeout, AuthenticationError, LoadingError, ReadOnlyError, MovedError, ConnectionError,
                         NotEquivalentError, Unroutable, OutOfMemoryError, BusyError, ChannelError, Nacked, BatchError>;

}  // namespace

bool is_copyable(const OperationalError& error) noexcept {
    return Known::contains(typeid(error)) || typeid(error) == typeid(OperationalError);
}

void throw_copy(const OperationalError& error, const std::string& more) {
    Known::throw_same(error, more);
    throw OperationalError(error.what() + more);
}

}  // namespace kombu::detail
