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

/// The transport options of Kombu's Redis transport. Zero and "" mean that there is none.
struct Options {
    using Time = std::chrono::nanoseconds;

    envelope::BodyEncoding body_encoding = envelope::BodyEncoding::base64;
    std::string deadletter_queue{};
    Time polling_interval = std::chrono::seconds{1};
    std::string separator{"\x06\x16"};
    std::vector<int> priority_steps{0, 3, 6, 9};
    std::string global_keyprefix{};

    bool ack_emulation = true;
    std::string unacked_key{"unacked"};
    std::string unacked_index_key{"unacked_index"};
    std::string unacked_mutex_key{"unacked_mutex"};
    Time unacked_mutex_expire = std::chrono::seconds{300};
    Time visibility_timeout = std::chrono::hours{1};
    std::size_t unacked_restore_limit = 0;
    Time unacked_restore_interval = std::chrono::seconds{10};
    std::size_t unacked_restore_throttle = 1;

    /// Before the exchange's name in the channels of fanout exchanges; `{db}` stands for the database.
    std::string fanout_prefix{"/{db}."};
    bool fanout_patterns = true;

    Time socket_timeout{0};
    Time socket_connect_timeout{0};
    net::KeepAlive keep_alive{};
    bool retry_on_timeout = false;
    Time health_check_interval = std::chrono::seconds{25};
    Time reauth_check_interval = std::chrono::seconds{10};
    std::string client_name{};

    // sentinel:// only
    std::string master_name{};
    std::string sentinel_userid{};
    Password sentinel_password{};
    bool sentinel_ssl = false;
    std::size_t min_other_sentinels = 0;
};

/// The options with their defaults, as a user may give them.
Json option_defaults(bool sentinel);
/// Throws ConfigurationError, naming the option, for a value that it cannot have; Kombu's None stands for no value.
void check_option(const std::string& name, Json& value);
/// From checked ones. Throws ConfigurationError when one does not go with another.
Options parse_options(const Json& chosen);

}  // namespace kombu::redis
