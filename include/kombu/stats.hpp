// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/json.hpp>
#include <kombu/pool/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kombu {

/// What all connections of the process to one broker have done since it began, pooled or not. Each number is exact, and
/// may be some messages apart from the others.
struct BrokerStats {
    std::string broker{};         ///< the URL, without the password, as PoolStats::key
    std::size_t connections = 0;  ///< connected at this moment, or broken and not noticed yet

    std::uint64_t published = 0;        ///< messages that were sent without an error
    std::uint64_t published_bytes = 0;  ///< of their bodies, encoded and compressed
    std::uint64_t confirmed = 0;        ///< of those published, with confirmations
    std::uint64_t refused = 0;          ///< by the broker: Nacked, ChannelError
    std::uint64_t returned = 0;         ///< Unroutable
    std::uint64_t failed = 0;           ///< ConnectionError, Timeout: may have arrived, or were never sent

    /// Messages that came, also those that came again.
    std::uint64_t received = 0;
    /// The bytes of their bodies.
    std::uint64_t received_bytes = 0;
    std::uint64_t redelivered = 0;  ///< of those received
    /// Messages that were acknowledged.
    std::uint64_t acknowledged = 0;
    /// Messages that were rejected.
    std::uint64_t rejected = 0;
    std::uint64_t requeued = 0;  ///< by the program; messages also go back when their channel is lost

    /// Adds the numbers of another broker.
    KOMBU_EXPORT BrokerStats& operator+=(const BrokerStats& other) noexcept;
};

/// The name of a reason, as in its enumerator.
KOMBU_EXPORT const char* to_string(CloseReason reason) noexcept;

/// The statistics of every broker that this process has connected to; of a thousand and more, those without a
/// connection are one, named "other". In a forked child: since the fork. \par Thread safety May be called from any
/// thread; takes no lock of a connection or a pool.
KOMBU_EXPORT std::vector<BrokerStats> broker_stats();

/// `Json(stats)`: an object with the members' names. Durations are in seconds, histograms are objects with their
/// quantiles.
KOMBU_EXPORT void to_json(Json& json, const PoolStats& stats);
/// \overload
KOMBU_EXPORT void to_json(Json& json, const BrokerStats& stats);

}  // namespace kombu
