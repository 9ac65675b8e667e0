// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>
#include <kombu/transport.hpp>

#include "net/stream.hpp"
#include "virtual/envelope.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::redis {

/// The transport options of Kombu's Redis transport. Zero and "" mean "not set".
struct Options {
    using Duration = std::chrono::nanoseconds;

    envelope::BodyEncoding body_encoding = envelope::BodyEncoding::base64;
    std::string deadletter_queue{};
    Duration polling_interval = std::chrono::seconds{1};
    std::string separator{"\x06\x16"};
    std::vector<int> priority_steps{0, 3, 6, 9};
    std::string global_keyprefix{};
    /// In which order a consumer of several queues looks at them.
    enum class QueueOrder { round_robin, priority, sorted };
    QueueOrder queue_order = QueueOrder::round_robin;

    bool ack_emulation = true;
    std::string unacked_key{"unacked"};
    std::string unacked_index_key{"unacked_index"};
    std::string unacked_mutex_key{"unacked_mutex"};
    Duration unacked_mutex_expire = std::chrono::seconds{300};
    Duration visibility_timeout = std::chrono::hours{1};
    std::size_t unacked_restore_limit = 0;
    Duration unacked_restore_interval = std::chrono::seconds{10};
    std::size_t unacked_restore_throttle = 1;

    /// Prefix of the channel names of fanout exchanges; `{db}` is replaced by the number of the database.
    std::string fanout_prefix{"/{db}."};
    bool fanout_patterns = true;

    Duration socket_timeout{0};
    Duration socket_connect_timeout{0};
    net::KeepAlive keep_alive{};
    bool retry_on_timeout = false;
    Duration health_check_interval = std::chrono::seconds{25};
    Duration reauth_check_interval = std::chrono::seconds{10};
    std::string client_name{};

    // sentinel:// only
    std::string master_name{};
    std::string sentinel_userid{};
    Password sentinel_password{};
    bool sentinel_ssl = false;
    std::size_t min_other_sentinels = 0;
};

/// The options that a user may set, with their defaults.
Json option_defaults(bool sentinel);
/// Checks the value of an option, and normalises it: null (Kombu's None) becomes "not set". Throws ConfigurationError,
/// naming the option, if the value is invalid.
void check_option(const std::string& name, Json& value);
/// Converts options that check_option() has accepted. Throws ConfigurationError if `sentinel://` lacks its
/// `master_name`.
Options parse_options(const Json& chosen);

}  // namespace kombu::redis
