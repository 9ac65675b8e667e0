// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <atomic>
#include <exception>

namespace kombu::net {

/// The first error of a session, which every later use throws.
class SessionFailure {
public:
    void set(const ConnectionError& error) noexcept {
        if (is_set()) return;
        try {
            error_ = dynamic_cast<const Timeout*>(&error) ? std::make_exception_ptr(Timeout(error.what()))
                                                          : std::make_exception_ptr(ConnectionError(error));
        } catch (...) {
            error_ = std::current_exception();
        }
        set_.store(true, std::memory_order_release);
    }
    /// Thread-safe.
    bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }
    std::exception_ptr error() const noexcept { return is_set() ? error_ : nullptr; }
    void check() const {
        if (is_set()) std::rethrow_exception(error_);
    }

private:
    std::exception_ptr error_{};  // written once, before set_
    std::atomic<bool> set_{false};
};

}  // namespace kombu::net
