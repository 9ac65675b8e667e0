// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/detail/process.hpp>

#include <cxxabi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

namespace kombu::detail {

struct SlotCell;

/// The slots of a pool that this thread released last, the latest first. An acquire tries these first: no other thread
/// has touched their cache lines since.
struct RecentSlots {
    static constexpr std::uint64_t no_generation = ~std::uint64_t{0};
    std::uint64_t idle = no_generation;  ///< the idle word of the generation that the cells belong to
    std::array<SlotCell*, 7> cells{};
};

/// A look-up of this thread in a group. The version is unique among all groups, and tells the types of key and pool.
struct RecentLookup {
    std::uint64_t version = 0;
    void* pool = nullptr;
    std::array<std::uint64_t, 2> key{};  ///< see KeyFingerprint
};

/// The last look-ups of this thread in all groups.
class RecentLookups {
public:
    /// The look-ups that may have this hash, the latest first.
    std::array<RecentLookup, 2>& set_of(std::uint64_t hash) noexcept {
        return sets_[hash * 0x9e3779b97f4a7c15 >> (64 - set_bits)];
    }

private:
    static constexpr unsigned set_bits = 4;
    std::array<std::array<RecentLookup, 2>, std::size_t{1} << set_bits> sets_{};
};

/// What a thread keeps for all pools of the process. On the heap: a shared object with more than some 500 bytes of
/// initial-exec thread-local variables cannot be loaded at run time.
struct ThreadCache {
    static constexpr std::size_t recent_tables = 8;

    const char* exception_globals = nullptr;
    std::array<RecentSlots, recent_tables> recent_slots{};
    RecentLookups lookups{};
};

/// One for each thread, whether code of the library or of the program uses it: acquire is inline, release may not be.
KOMBU_FAST_TLS KOMBU_ONE_PER_PROCESS constinit thread_local ThreadCache* thread_cache = nullptr;

/// Makes the cache of this thread. Null when there is no memory for it.
KOMBU_NOINLINE inline ThreadCache* make_thread_cache() noexcept {
    auto* const created = new (std::nothrow) ThreadCache;
    if (!created) return nullptr;
    // Keeps the shared object of this code loaded until the thread has ended. Also while the thread ends, a cache that
    // is made again is freed.
    const auto free_cache = [](void* cache) {
        thread_cache = nullptr;
        delete static_cast<ThreadCache*>(cache);
    };
    if (abi::__cxa_thread_atexit(free_cache, created, &this_object) != 0) {
        delete created;
        return nullptr;
    }
    created->exception_globals = reinterpret_cast<const char*>(abi::__cxa_get_globals());
    return thread_cache = created;
}

/// The cache of this thread. Null when there is no memory for it.
inline ThreadCache* this_thread_cache() noexcept {
    ThreadCache* const cache = thread_cache;
    return cache ? cache : make_thread_cache();
}

/// std::uncaught_exceptions(), which is two calls through two libraries, as one load. Where the number is belongs to
/// the Itanium C++ ABI (2.2.2): behind a pointer in what __cxa_get_globals() returns, the same for the life of a
/// thread.
inline int uncaught_exceptions() noexcept {
    const ThreadCache* const cache = this_thread_cache();
    if (!cache) [[unlikely]]
        return std::uncaught_exceptions();
    unsigned count = 0;
    std::memcpy(&count, cache->exception_globals + sizeof(void*), sizeof count);
    return static_cast<int>(count);
}

}  // namespace kombu::detail
