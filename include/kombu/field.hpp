// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/error.hpp>
#include <kombu/json.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

/// Values of headers and arguments that JSON has no type for. Within Json they are binaries of an own subtype:
///
///     {.headers = {{"due", kombu::Timestamp{when}}, {"price", kombu::Decimal{"9.95"}}}}
///     message.headers()["due"].get<kombu::Timestamp>()
///
/// RabbitMQ and the memory broker carry them. Redis, whose messages are JSON, refuses them with EncodeError.
namespace kombu {

/// A time with a resolution of one second: a system_clock time point, or seconds since 1970-01-01 UTC.
class Timestamp {
public:
    /// \throws ConfigurationError  when the time is before 1970, which AMQP cannot tell
    template <class Duration>
    Timestamp(std::chrono::time_point<std::chrono::system_clock, Duration> when)
        : Timestamp(
              static_cast<std::int64_t>(std::chrono::floor<std::chrono::seconds>(when.time_since_epoch()).count())) {}
    /// \throws ConfigurationError  when the time is before 1970
    Timestamp(std::integral auto seconds) : seconds_(static_cast<std::uint64_t>(seconds)) {
        if constexpr (std::signed_integral<decltype(seconds)>)
            if (seconds < 0)
                throw ConfigurationError("timestamp: " + std::to_string(seconds) + " s is before 1970-01-01");
    }
    /// Since 1970-01-01 UTC.
    std::uint64_t seconds() const noexcept { return seconds_; }
    friend bool operator==(Timestamp, Timestamp) = default;

private:
    std::uint64_t seconds_;
};

/// A decimal number: `unscaled` / 10^`scale`, exactly.
class Decimal {
public:
    /// The number unscaled / 10^scale.
    constexpr Decimal(std::int32_t unscaled, std::uint8_t scale) noexcept : unscaled_(unscaled), scale_(scale) {}
    /// \param text  as "-1.50"
    /// \throws ConfigurationError  when it is no decimal number, or needs more than 32 bits without its point
    KOMBU_EXPORT explicit Decimal(std::string_view text);

    /// The digits, as an integer.
    constexpr std::int32_t unscaled() const noexcept { return unscaled_; }
    /// The number of digits behind the decimal point.
    constexpr std::uint8_t scale() const noexcept { return scale_; }
    /// As "-1.50".
    KOMBU_EXPORT std::string text() const;
    /// 1.5 and 1.50 differ.
    friend bool operator==(Decimal, Decimal) = default;

private:
    std::int32_t unscaled_;
    std::uint8_t scale_;
};

/// Whether the value is a Timestamp.
KOMBU_EXPORT bool is_timestamp(const Json& field) noexcept;
/// Whether the value is a Decimal.
KOMBU_EXPORT bool is_decimal(const Json& field) noexcept;

}  // namespace kombu

namespace nlohmann {

/// Makes a Timestamp a value of Json, and the reverse.
template <>
struct adl_serializer<kombu::Timestamp> {
    /// As a Json binary with a subtype.
    KOMBU_EXPORT static void to_json(kombu::Json& field, const kombu::Timestamp& value);
    /// \throws DecodeError  when the field is no timestamp
    KOMBU_EXPORT static kombu::Timestamp from_json(const kombu::Json& field);
};

/// Makes a Decimal a value of Json, and the reverse.
template <>
struct adl_serializer<kombu::Decimal> {
    /// As a Json binary with a subtype.
    KOMBU_EXPORT static void to_json(kombu::Json& field, const kombu::Decimal& value);
    /// \throws DecodeError  when the field is no decimal
    KOMBU_EXPORT static kombu::Decimal from_json(const kombu::Json& field);
};

}  // namespace nlohmann
