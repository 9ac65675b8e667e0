// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include <signal.h>

#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace kombu::detail {

/// Blocks all signals of this thread during its lifetime.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept {
        ::sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    ::sigset_t before_;
};

/// Starts a thread of the library, which nobody joins. It handles no signals: they are for the application's threads.
/// The caller has pinned its object (pin_object_of).
/// \throws OperationalError  when the system has no thread to give
template <class Body>
void start_thread(const char* purpose, Body body) {
    const SignalsBlocked inherited_by_the_thread;
    try {
        std::thread{std::move(body)}.detach();
    } catch (const std::system_error& error) {
        throw OperationalError(std::string{"cannot start the thread for "} + purpose + ": " + error.what());
    }
}

}  // namespace kombu::detail
