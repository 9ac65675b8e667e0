#pragma once

#include <exception>

namespace kombu::redis {

/// What a call throws, or null.
template <class Call>
std::exception_ptr caught(Call call) {
    try {
        call();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

}  // namespace kombu::redis
