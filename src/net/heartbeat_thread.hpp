#pragma once

#include <kombu/detail/periodic_thread.hpp>

namespace kombu::net {

/// The thread that keeps sessions alive which nobody uses at the moment: one for all of the process, from the first
/// session with heartbeats to the last.
kombu::detail::PeriodicThread& heartbeat_thread();

}  // namespace kombu::net
