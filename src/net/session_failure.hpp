#pragma once

#include <kombu/error.hpp>

#include <atomic>
#include <exception>

namespace kombu::net {

/// What a session failed with: the first error, which everything later throws.
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
    /// From any thread.
    bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }
    void check() const {
        if (is_set()) std::rethrow_exception(error_);
    }

private:
    std::exception_ptr error_{};  // written once, before set_
    std::atomic<bool> set_{false};
};

}  // namespace kombu::net
