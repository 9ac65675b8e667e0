// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <memory>
#include <string>

namespace kombu::detail {

// Threads never share an exception that was thrown: ThreadSanitizer does not see that the C++ runtime counts its
// references, and reports a data race in the user's program when the last one ends. Copies share no text either.

/// Whether the copies have the very same type.
bool is_copyable(const OperationalError& error) noexcept;

/// Throws a copy of the error, of the same type, with more text. An error of a type that the library does not know is
/// thrown as the nearest base that it knows.
[[noreturn]] void throw_copy(const OperationalError& error, const std::string& more = {});

/// A copy for other threads, each of which throws its own by throw_copy().
std::shared_ptr<const OperationalError> shared_copy(const OperationalError& error);

}  // namespace kombu::detail
