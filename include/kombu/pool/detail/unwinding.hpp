// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cxxabi.h>

#include <cstring>
#include <exception>

namespace kombu::detail {

__attribute__((tls_model("initial-exec"))) inline constinit thread_local const char* exception_globals = nullptr;

/// std::uncaught_exceptions(), which is two calls through two libraries, as one load. Where the number is belongs to
/// the Itanium C++ ABI (2.2.2): behind a pointer in what __cxa_get_globals() returns, the same for the life of a
/// thread.
inline int uncaught_exceptions() noexcept {
    if (!exception_globals) [[unlikely]]
        exception_globals = reinterpret_cast<const char*>(abi::__cxa_get_globals());
    unsigned count = 0;
    std::memcpy(&count, exception_globals + sizeof(void*), sizeof count);
    return static_cast<int>(count);
}

}  // namespace kombu::detail
