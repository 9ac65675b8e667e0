// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The bodies of the pool's functions: inline for programs of kombu::pool, compiled once in kombu::kombu.
#include <kombu/pool/detail/group_registry.ipp>
#include <kombu/pool/detail/maintenance_policy.ipp>
#include <kombu/pool/detail/pool_core.ipp>
#include <kombu/pool/detail/pool_engine.ipp>
#include <kombu/pool/detail/pool_maintainer.ipp>
#include <kombu/pool/detail/pool_reporter.ipp>
#include <kombu/pool/detail/pool_resize.ipp>
#include <kombu/pool/detail/slot_table.ipp>

// A header that needs them includes this file last, unless KOMBU_POOL_COMPILED is defined.
