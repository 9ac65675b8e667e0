// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <exception>

namespace kombu::redis {

/// Returns the exception that `call` throws, or null.
template <class Call>
std::exception_ptr capture_exception(Call call) {
    try {
        call();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

}  // namespace kombu::redis
