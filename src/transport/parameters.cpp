// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/transport.hpp>

#include <cstdint>

namespace kombu {

std::chrono::nanoseconds ConnectionParameters::operation_timeout() const {
    return std::chrono::nanoseconds{
        static_cast<std::int64_t>(transport_options.at("operation_timeout").get<double>() * 1e9)};
}

RetryPolicy ConnectionParameters::connect_policy() const {
    const auto number = [&](const char* name) { return transport_options.at(name).get<double>(); };
    const auto seconds = [&](const char* name) { return std::chrono::duration<double>{number(name)}; };
    RetryPolicy policy{.max_retries = static_cast<unsigned>(number("max_retries")),
                       .interval_start = seconds("interval_start"),
                       .interval_step = seconds("interval_step"),
                       .interval_max = seconds("interval_max")};
    if (number("connect_retries_timeout") > 0) policy.timeout = seconds("connect_retries_timeout");
    return policy;
}

bool ConnectionParameters::confirm_publish() const { return transport_options.at("confirm_publish").get<bool>(); }

}  // namespace kombu
