// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/log.hpp>
#include <kombu/pool/detail/pool_reporter.hpp>
#include <kombu/pool/observer.hpp>

namespace kombu::detail {

template <class Notify>
void PoolReporter::observe(Notify notify_observer) noexcept {
    if (!options_.observer) return;
    try {
        notify_observer(*options_.observer);
    } catch (...) {
    }
}

KOMBU_POOL_INLINE void PoolReporter::acquired_at_once() noexcept {
    observe([&](PoolObserver& observer) { observer.acquired(options_.name, std::chrono::nanoseconds{0}); });
}

KOMBU_POOL_INLINE void PoolReporter::acquired(std::chrono::nanoseconds waited) noexcept {
    counters_.waited(waited);
    observe([&](PoolObserver& observer) { observer.acquired(options_.name, waited); });
}

KOMBU_POOL_INLINE void PoolReporter::released(std::chrono::nanoseconds used, std::uint64_t weight) noexcept {
    if (weight != 0) counters_.used(used, weight);
    observe([&](PoolObserver& observer) { observer.released(options_.name, used); });
}

KOMBU_POOL_INLINE void PoolReporter::created(std::chrono::nanoseconds duration) noexcept {
    counters_.created(duration);
    observe([&](PoolObserver& observer) { observer.created(options_.name, duration); });
}

KOMBU_POOL_INLINE void PoolReporter::create_failed(const std::exception* error) noexcept {
    counters_.create_failed();
    if (error) observe([&](PoolObserver& observer) { observer.create_failed(options_.name, *error); });
}

KOMBU_POOL_INLINE void PoolReporter::closed(CloseReason reason) noexcept {
    counters_.closed(reason);
    observe([&](PoolObserver& observer) { observer.closed(options_.name, reason); });
}

KOMBU_POOL_INLINE void PoolReporter::count_limit_exceeded() noexcept { counters_.timed_out(); }

KOMBU_POOL_INLINE void PoolReporter::limit_exceeded(const LimitReport& report) noexcept {
    observe([&](PoolObserver& observer) { observer.limit_exceeded(report); });
}

KOMBU_POOL_INLINE void PoolReporter::leaked(const LeaseSite& lease) {
    counters_.leaked();
    if (is_logging()) log(LogLevel::warning, display_name() + ": a lease has lasted " + lease.describe());
    observe([&](PoolObserver& observer) { observer.leaked({options_.name, lease}); });
}

KOMBU_POOL_INLINE void PoolReporter::leak_ended(const LeaseSite& lease) noexcept {
    counters_.leak_ended();
    try {
        if (is_logging())
            log(LogLevel::warning, display_name() + ": a reported lease has ended: it lasted " + lease.describe());
    } catch (...) {
    }
    observe([&](PoolObserver& observer) { observer.leak_ended({options_.name, lease}); });
}

KOMBU_POOL_INLINE void PoolReporter::preload_failed(const std::exception& error) {
    if (is_logging()) log(LogLevel::warning, display_name() + ": preload failed: " + error.what());
}

}  // namespace kombu::detail
