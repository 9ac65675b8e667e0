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

/// Starts a thread of the library, which nobody joins. It handles no signals: they are for the application's threads.
/// \throws OperationalError  when the system has no thread to give
template <class Body>
void start_thread(const char* purpose, Body body) {
    pin_object_of(&__dso_handle);
    ::sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by the new thread
    int error = 0;
    try {
        std::thread{std::move(body)}.detach();
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0)
        throw OperationalError(std::string{"cannot start the thread for "} + purpose + ": " +
                               std::generic_category().message(error));
}

}  // namespace kombu::detail
