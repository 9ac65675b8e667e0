// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/export.hpp>

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>

/// What the pool needs of the operating system and the standard library does not have: fork handlers and membarrier.
///
/// Variables here are exported, although they are of a header: there must be one of each in a process, however many
/// shared objects have pools.
namespace kombu::detail {

/// Marks an inline variable of which a process has one.
#define KOMBU_ONE_PER_PROCESS KOMBU_EXPORT inline

/// What a forked child does before anything else: called in the child's only thread, maybe while its parent's other
/// threads were inside malloc or held any lock. Async-signal-safe, therefore: atomics and close(2), nothing else.
using ChildHandler = void (*)();

struct Process {
    /// Differs between a process and its forked children: what remembers another number than this was made by an
    /// ancestor.
    std::atomic<std::uint32_t> epoch{0};
    std::atomic<pid_t> pid{0};
    std::atomic<bool> handlers_disabled{false};
    std::atomic<bool> handlers_installed{false};
    std::array<std::atomic<ChildHandler>, 64> child_handlers{};
    /// Whether heavy_fence() works; see light_fence().
    std::atomic<bool> membarrier{false};
    std::atomic<bool> fences_prepared{false};
};
KOMBU_ONE_PER_PROCESS constinit Process process{};

inline std::uint32_t fork_epoch() noexcept { return process.epoch.load(std::memory_order_relaxed); }

/// A second time in the same process does nothing.
inline void become_child() noexcept {
    if (process.pid.exchange(::getpid(), std::memory_order_relaxed) == ::getpid()) return;
    process.epoch.fetch_add(1, std::memory_order_relaxed);
    for (const auto& handler : process.child_handlers)
        if (const ChildHandler run = handler.load(std::memory_order_relaxed)) run();
}

inline void fork_handler() noexcept {
    if (!process.handlers_disabled.load(std::memory_order_relaxed)) become_child();
}

/// From now on forks are noticed. Whatever remembers an epoch must have called this.
inline void notice_forks() {
    // Nothing that a thread could be inside while another one forks: installing it twice does no harm.
    if (process.handlers_installed.load(std::memory_order_acquire)) return;
    process.pid.store(::getpid());
    if (::pthread_atfork(nullptr, nullptr, fork_handler) != 0) throw std::bad_alloc{};
    process.handlers_installed.store(true, std::memory_order_release);
}

/// Has the handler run in every child that is forked from now on. Adding it twice does nothing.
inline void add_child_handler(ChildHandler handler) {
    notice_forks();
    for (auto& place : process.child_handlers) {
        ChildHandler known = nullptr;
        if (place.compare_exchange_strong(known, handler) || known == handler) return;
    }
    throw std::length_error("kombu: too many shared objects have pools of their own");
}

/// From linux/membarrier.h, which old kernel headers lack.
enum : int { membarrier_private_expedited = 1 << 3, membarrier_register_private_expedited = 1 << 4 };

inline int membarrier([[maybe_unused]] int command) noexcept {
#ifdef __NR_membarrier
    return static_cast<int>(::syscall(__NR_membarrier, command, 0, 0));
#else
    return -1;
#endif
}

/// Before the first heavy_fence(). Costs milliseconds when it is the first time and other threads run; not a static
/// variable, whose guard a forked child would find locked.
inline void prepare_fences() noexcept {
    if (process.fences_prepared.load(std::memory_order_acquire)) return;
    process.membarrier.store(membarrier(membarrier_register_private_expedited) == 0, std::memory_order_relaxed);
    process.fences_prepared.store(true, std::memory_order_release);
}

/// Makes every running thread of the process execute a full memory barrier. Threads that do not run have gone through
/// one in the scheduler. False when the kernel cannot do it.
inline bool heavy_fence() noexcept {
    if (!process.membarrier.load(std::memory_order_relaxed)) return false;
    if (membarrier(membarrier_private_expedited) == 0) return true;
    // The registration belongs to the address space: a child of vfork-like calls may have lost it.
    if (membarrier(membarrier_register_private_expedited) == 0 && membarrier(membarrier_private_expedited) == 0)
        return true;
    // Forbidden from now on (a seccomp filter): the exchange on the other side does without. The stores of those who
    // are giving back at this moment reach memory by themselves, long before this returns.
    process.membarrier.store(false, std::memory_order_seq_cst);
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
    return false;
}

/// From linux/futex.h, which is not in every libc's headers.
enum : int { futex_wait_bitset_private = 9 | 128, futex_wake_private = 1 | 128 };

/// Sleeps while the word is 0, until it is woken or the steady clock shows `when` (nanoseconds; negative: for ever).
/// May return early.
inline void futex_wait(const std::atomic<std::uint32_t>& word, std::int64_t when) noexcept {
    const timespec until{when / 1'000'000'000, when % 1'000'000'000};
    ::syscall(SYS_futex, &word, futex_wait_bitset_private, 0, when < 0 ? nullptr : &until, nullptr, ~0U);
}

/// Takes an address and does not look at it: the word may be gone, or something else's, which is then woken in vain.
inline void futex_wake(const void* word) noexcept {
    ::syscall(SYS_futex, word, futex_wake_private, 1, nullptr, nullptr, 0);
}

KOMBU_ONE_PER_PROCESS constinit std::atomic<std::uint64_t> last_number{0};
/// A number, never 0, that this process has not used for anything else.
inline std::uint64_t next_number() noexcept { return last_number.fetch_add(1, std::memory_order_relaxed) + 1; }

/// Nanoseconds of the steady clock, some milliseconds late, but cheaper than the exact one.
inline std::int64_t coarse_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace kombu::detail
