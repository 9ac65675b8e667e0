// SPDX-License-Identifier: BSD-3-Clause
#include "stop_signal.hpp"

#include "command.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <system_error>

namespace kombu::command {

StopSignal::StopSignal() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    ::signal(SIGPIPE, SIG_IGN);
    ::sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) ::sigaddset(&signals_, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread{[this] { await_signals(); }};
}

StopSignal::~StopSignal() {
    is_ending_ = true;
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
    ::close(descriptor_);
}

void StopSignal::await_signals() {
    for (;;) {
        int signal = 0;
        if (::sigwait(&signals_, &signal) != 0 || is_ending_) return;
        if (signal == SIGUSR1) continue;  // of someone else
        if (requested()) ::_exit(static_cast<int>(ExitCode::interrupted));
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(descriptor_, &one, sizeof one);
        {
            const std::lock_guard lock{mutex_};
            source_.request_stop();
        }
        stopped_.notify_all();
    }
}

bool StopSignal::wait_until(std::chrono::steady_clock::time_point when) {
    std::unique_lock lock{mutex_};
    return !stopped_.wait_until(lock, when, [this] { return requested(); });
}

}  // namespace kombu::command
