// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#if defined(__clang__) ? __clang_major__ < 16 : __GNUC__ < 12
#error "kombu-cpp needs GCC 12 or Clang 16: older ones lack std::source_location or compile coroutines wrongly"
#endif

/// Exports a symbol of the shared library. Exception types have it too, also in the header-only part: a type with
/// hidden visibility that is thrown in one shared object is not caught in another.
#define KOMBU_EXPORT __attribute__((visibility("default")))

/// kombu::pool is header-only: the bodies in pool/detail/*.ipp are inline functions of each program. kombu::kombu
/// defines KOMBU_POOL_COMPILED and has compiled them once.
#ifdef KOMBU_POOL_COMPILED
#define KOMBU_POOL_INLINE
#else
#define KOMBU_POOL_INLINE inline
#endif

/// For functions whose inlining, or lack of it, matters for the cost of the fast path (bench/RESULTS.md).
#define KOMBU_NOINLINE __attribute__((noinline))
#define KOMBU_ALWAYS_INLINE __attribute__((always_inline))
/// For thread_local variables of the fast path: with other models each access from a shared object is a call.
#define KOMBU_FAST_TLS __attribute__((tls_model("initial-exec")))
