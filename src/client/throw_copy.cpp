// SPDX-License-Identifier: BSD-3-Clause
#include "client/throw_copy.hpp"

#include <cstdlib>
#include <stdexcept>
#include <typeinfo>

namespace kombu::detail {
namespace {

template <class E>
E copy_of(const E& error, const std::string& more) {
    E copy{error};
    static_cast<std::runtime_error&>(copy) = std::runtime_error{error.what() + more};
    return copy;
}

template <class E, class Use>
bool use_as(const OperationalError& error, const Use& use) {
    const auto* const same = dynamic_cast<const E*>(&error);
    if (same) use(*same);
    return same != nullptr;
}

/// Derived classes before their bases.
template <class... Errors>
struct ErrorTypes {
    template <class Use>
    static void use_as_known(const OperationalError& error, const Use& use) {
        static_cast<void>((use_as<Errors>(error, use) || ...));
    }
    static bool contains(const std::type_info& type) noexcept { return ((type == typeid(Errors)) || ...); }
};
using Known = ErrorTypes<Timeout, AuthenticationError, LoadingError, ReadOnlyError, MovedError, ConnectionError,
                         NotEquivalentError, Unroutable, OutOfMemoryError, BusyError, ChannelError, Nacked, BatchError,
                         OperationalError>;

}  // namespace

bool is_copyable(const OperationalError& error) noexcept { return Known::contains(typeid(error)); }

void throw_copy(const OperationalError& error, const std::string& more) {
    Known::use_as_known(error, [&](const auto& same) { throw copy_of(same, more); });
    std::abort();  // the last type is the error's own base
}

std::shared_ptr<const OperationalError> shared_copy(const OperationalError& error) {
    std::shared_ptr<const OperationalError> copy;
    Known::use_as_known(error, [&]<class E>(const E& same) { copy = std::make_shared<const E>(copy_of(same, {})); });
    return copy;
}

}  // namespace kombu::detail
