// SPDX-License-Identifier: BSD-3-Clause
// The pool's functions for programs that link kombu::kombu; see KOMBU_POOL_COMPILED.
#include <kombu/pool/detail/async_acquire.ipp>
#include <kombu/pool/detail/implementation.hpp>
