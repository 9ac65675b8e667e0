// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/periodic_thread.hpp>

namespace kombu::net {

/// The thread that keeps sessions alive while no operation uses them. There is one per process, from the first session
/// with heartbeats to the last.
kombu::detail::PeriodicThread& heartbeat_thread();

}  // namespace kombu::net
