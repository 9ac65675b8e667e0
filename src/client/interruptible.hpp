// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>

#include <stop_token>
#include <utility>

namespace kombu::detail {

/// Runs an operation until it is done, or the stop is requested, which cancels it. Requesting the stop must call the
/// waker of the operation that awaits this. Returns whether it is done.
inline async::Operation<bool> interruptible(async::Operation<> operation, std::stop_token stop) {
    operation.handle().set_waker(co_await async::this_waker);
    async::Ready ready{.read = true};
    // A signal that came while the operation waited for something else is for its next wait for a signal.
    bool is_signalled = false;
    while (!operation.resume(ready)) {
        ready = {};
        while (!ready && !stop.stop_requested()) {
            async::Wait wait = operation.wait();
            if (wait.signal && std::exchange(is_signalled, false)) {
                ready.signal = true;
                break;
            }
            const bool wants_signal = std::exchange(wait.signal, true);
            ready = co_await wait;
            if (ready.signal && !wants_signal) {
                is_signalled = true;
                ready.signal = false;
                if (!ready) continue;
            }
            if (!ready) break;  // it is time
        }
        if (stop.stop_requested()) co_return false;
    }
    operation.result();
    co_return true;
}

}  // namespace kombu::detail
