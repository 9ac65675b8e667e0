// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <algorithm>
#include <chrono>

namespace kombu::net {

/// The longest round trip to a working broker, however far away.
inline constexpr std::chrono::seconds max_round_trip{1};

/// The deadline of a request made while waiting for a message until `until`. It allows a round trip even when no time
/// is left to wait: giving up earlier could lose the message in the reply.
inline Deadline allow_round_trip(Deadline until) noexcept { return std::max(until, Deadline::after(max_round_trip)); }

}  // namespace kombu::net
