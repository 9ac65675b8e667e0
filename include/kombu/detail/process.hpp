// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>

/// Services of the operating system that the standard library lacks: fork handlers, membarrier, futex.
///
/// The variables are exported although they stand in a header: a process has one of each, however many of its shared
/// objects have pools.
namespace kombu::detail {

/// Its address is within the shared object that has this code: each has its own. (The ABI's __dso_handle cannot be
/// declared: the compiler declares it too, in another way.)
__attribute__((visibility("hidden"))) inline constinit char this_object = 0;

/// Marks an inline variable of which a process has exactly one.
#define KOMBU_ONE_PER_PROCESS KOMBU_EXPORT inline

/// Called in a forked child before anything else. Other threads of the parent may have been inside malloc, or have held
/// any lock, so it must be async-signal-safe: atomics and close(2), nothing else.
using ChildHandler = void (*)();

struct Process {
    /// Differs between a process and its forked children. An object with another epoch was made by an ancestor.
    std::atomic<std::uint32_t> epoch{0};
    std::atomic<pid_t> pid{0};
    std::atomic<bool> handlers_disabled{false};
    std::atomic<bool> handlers_installed{false};
    std::array<std::atomic<ChildHandler>, 64> child_handlers{};
    std::array<std::atomic<const void*>, 64> pinned{};  // addresses whose objects stay loaded
    /// Whether heavy_fence() works.
    std::atomic<bool> membarrier{false};
    std::atomic<bool> fences_prepared{false};
};
KOMBU_ONE_PER_PROCESS constinit Process process{};

/// Keeps the shared object of this address loaded from now on: its code is called by handlers or threads that its users
/// do not know of, so that dlclose() must not remove it. Takes the loader's lock, which is held while constructors of
/// shared objects run: call it without a lock that these may need.
inline void pin_object_of(const void* address) noexcept {
    for (const auto& place : process.pinned)
        if (place.load(std::memory_order_acquire) == address) return;
    Dl_info object{};
    if (::dladdr(address, &object) != 0 && object.dli_fname)  // a program that is linked statically has no such object
        if (void* const handle = ::dlopen(object.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE)) ::dlclose(handle);
    // Only now: others rely on it.
    for (auto& place : process.pinned) {
        const void* expected = nullptr;
        if (place.compare_exchange_strong(expected, address) || expected == address) return;
    }
}

inline std::uint32_t fork_epoch() noexcept { return process.epoch.load(std::memory_order_relaxed); }

/// A second call in the same process has no effect.
inline void on_fork_child() noexcept {
    if (process.pid.exchange(::getpid(), std::memory_order_relaxed) == ::getpid()) return;
    process.epoch.fetch_add(1, std::memory_order_relaxed);
    for (const auto& handler : process.child_handlers)
        if (const ChildHandler run = handler.load(std::memory_order_relaxed)) run();
}

inline void fork_handler() noexcept {
    if (!process.handlers_disabled.load(std::memory_order_relaxed)) on_fork_child();
}

/// Must be called before an epoch is stored anywhere.
inline void install_fork_handler() {
    // No lock, which another thread could hold during a fork: installing the handler twice is harmless.
    if (process.handlers_installed.load(std::memory_order_acquire)) return;
    process.pid.store(::getpid());
    pin_object_of(&this_object);  // pthread_atfork() handlers go with their object
    if (::pthread_atfork(nullptr, nullptr, fork_handler) != 0) throw std::bad_alloc{};
    process.handlers_installed.store(true, std::memory_order_release);
}

/// Has the handler called in every child that is forked from now on. Adding it twice has no effect.
inline void add_child_handler(ChildHandler handler) {
    install_fork_handler();
    for (auto& place : process.child_handlers) {
        ChildHandler expected = nullptr;
        if (place.compare_exchange_strong(expected, handler)) return pin_object_of(reinterpret_cast<void*>(handler));
        if (expected == handler) return;
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

/// Must be called before the first heavy_fence(). The first call takes milliseconds while other threads run. No static
/// variable: a forked child could find its guard locked.
inline void prepare_fences() noexcept {
    if (process.fences_prepared.load(std::memory_order_acquire)) return;
    process.membarrier.store(membarrier(membarrier_register_private_expedited) == 0, std::memory_order_relaxed);
    process.fences_prepared.store(true, std::memory_order_release);
}

/// Makes every running thread of the process execute a full memory barrier. Threads that do not run have executed one
/// in the scheduler. False when the kernel does not support it.
inline bool heavy_fence() noexcept {
    if (!process.membarrier.load(std::memory_order_relaxed)) return false;
    if (membarrier(membarrier_private_expedited) == 0) return true;
    // The registration belongs to the address space: a child of vfork-like calls may have lost it.
    if (membarrier(membarrier_register_private_expedited) == 0 && membarrier(membarrier_private_expedited) == 0)
        return true;
    // Forbidden from now on, by a seccomp filter: releases use an exchange instead. The stores of releases in progress
    // reach memory by themselves long before this returns.
    process.membarrier.store(false, std::memory_order_seq_cst);
    const timespec one_millisecond{0, 1'000'000};
    ::nanosleep(&one_millisecond, nullptr);
    return false;
}

/// Stores, before this thread loads what follows, as seen by a thread that calls heavy_fence() between its own store
/// and load (Dekker's argument). The loads on both sides must have memory_order_seq_cst.
template <class T>
void store_before_loads(std::atomic<T>& target, T value) noexcept {
    if (process.membarrier.load(std::memory_order_relaxed)) [[likely]] {
        target.store(value, std::memory_order_release);
        std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
        target.exchange(value, std::memory_order_seq_cst);
    }
}

/// From linux/futex.h, which is not in every libc's headers.
enum : int { futex_wait_bitset_private = 9 | 128, futex_wake_private = 1 | 128 };

/// Sleeps while the word is 0, until it is woken or the steady clock reaches `when` (nanoseconds; negative: never).
/// May return early.
inline void futex_wait(const std::atomic<std::uint32_t>& word, std::int64_t when) noexcept {
    const timespec until{when / 1'000'000'000, when % 1'000'000'000};
    ::syscall(SYS_futex, &word, futex_wait_bitset_private, 0, when < 0 ? nullptr : &until, nullptr, ~0U);
}

/// Does not access the word, which may have been destroyed: at worst another waiter wakes for nothing.
inline void futex_wake(const void* word) noexcept {
    ::syscall(SYS_futex, word, futex_wake_private, 1, nullptr, nullptr, 0);
}

KOMBU_ONE_PER_PROCESS constinit std::atomic<std::uint64_t> last_unique_id{0};
/// A number, never 0, that this process has not used before.
inline std::uint64_t next_unique_id() noexcept { return last_unique_id.fetch_add(1, std::memory_order_relaxed) + 1; }

/// How far the coarse clock is behind at the slowest tick in use; further, when a hypervisor suspends a processor.
inline constexpr std::chrono::milliseconds coarse_clock_lag{10};
/// Nanoseconds of the steady clock, usually up to coarse_clock_lag late, and cheaper than the exact time.
inline std::int64_t coarse_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace kombu::detail
