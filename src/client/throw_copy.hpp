// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <string>

namespace kombu::detail {

/// Whether throw_copy() throws an error of the very same type.
bool is_copyable(const OperationalError& error) noexcept;

/// Throws a copy of the error, of the same type, with more text. An error of a type that the library does not know is
/// thrown as the nearest base that it knows. Another thread may hold the error itself.
[[noreturn]] void throw_copy(const OperationalError& error, const std::string& more = {});

}  // namespace kombu::detail
