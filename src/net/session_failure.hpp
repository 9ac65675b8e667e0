// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <atomic>
#include <exception>
#include <new>
#include <string>

namespace kombu::net {

/// The first error of a session, which every later use throws. Each thread gets an exception of its own:
/// ThreadSanitizer does not see how the C++ runtime counts the references to one.
class SessionFailure {
public:
    void set(const ConnectionError& error) noexcept {
        if (is_set()) return;
        code_ = error.code();
        is_retryable_ = error.is_retryable();
        is_timeout_ = dynamic_cast<const Timeout*>(&error) != nullptr;
        try {
            text_ = error.what();
        } catch (const std::bad_alloc&) {
            text_ = "broken";  // allocates nothing
        }
        set_.store(true, std::memory_order_release);
    }
    /// Thread-safe.
    bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }
    /// Null when there is none.
    std::exception_ptr error() const noexcept try {
        check();
        return nullptr;
    } catch (...) {
        return std::current_exception();
    }
    void check() const {
        if (!is_set()) return;
        if (is_timeout_) throw Timeout(text_);
        throw ConnectionError(text_, code_, is_retryable_);
    }

private:
    // Written once, before set_.
    std::string text_{};
    int code_ = 0;
    bool is_retryable_ = false;
    bool is_timeout_ = false;

    std::atomic<bool> set_{false};
};

}  // namespace kombu::net
