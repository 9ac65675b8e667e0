// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <string>

namespace kombu {

/// What a broker tells about itself, and how long its answer took. See Connection::broker_info.
struct BrokerInfo {
    /// "RabbitMQ", "Redis", "memory", or what the broker calls itself; empty when it does not say.
    std::string product{};
    /// Empty when the broker does not say, or the user may not know (Redis: INFO).
    std::string version{};
    /// The version of TLS, such as "TLSv1.3"; empty when the connection is not encrypted.
    std::string tls{};
    /// From a request that only asks for an answer to the answer.
    std::chrono::nanoseconds round_trip{0};
};

}  // namespace kombu
