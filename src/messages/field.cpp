// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/field.hpp>

#include <charconv>
#include <cstddef>
#include <utility>
#include <vector>

namespace kombu {
namespace {

// The subtypes of the binaries are AMQP's tags, and their bytes those of AMQP.
constexpr std::uint8_t timestamp_tag = 'T', decimal_tag = 'D';
constexpr std::size_t timestamp_size = 8, decimal_size = 5;

bool is_tagged(const Json& field, std::uint8_t tag, std::size_t size) noexcept {
    if (!field.is_binary()) return false;
    const auto& binary = field.get_binary();
    return binary.has_subtype() && binary.subtype() == tag && binary.size() == size;
}

void append_big_endian(std::vector<std::uint8_t>& out, std::uint64_t number, std::size_t size) {
    for (std::size_t shift = size * 8; shift != 0; shift -= 8)
        out.push_back(static_cast<std::uint8_t>(number >> (shift - 8)));
}

std::uint64_t read_big_endian(const std::vector<std::uint8_t>& bytes, std::size_t begin) {
    std::uint64_t number = 0;
    for (std::size_t at = begin; at < bytes.size(); ++at) number = number << 8 | bytes[at];
    return number;
}

}  // namespace

Decimal::Decimal(std::string_view text) : unscaled_(0), scale_(0) {
    std::string digits{text};
    const std::size_t point = digits.find('.');
    const std::size_t places = point == std::string::npos ? 0 : digits.size() - point - 1;
    if (point != std::string::npos) digits.erase(point, 1);
    const char* const end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, unscaled_);
    const bool has_inner_sign = text.find('-', 1) != std::string_view::npos;
    if (error != std::errc{} || stop != end || places > 255 || has_inner_sign)
        throw ConfigurationError("Decimal: not a decimal number of 32 bits: " + std::string{text.substr(0, 100)});
    scale_ = static_cast<std::uint8_t>(places);
}

std::string Decimal::text() const {
    std::string digits = std::to_string(unscaled_);
    if (scale_ == 0) return digits;
    const std::size_t sign = unscaled_ < 0 ? 1 : 0;
    if (digits.size() - sign <= scale_) digits.insert(sign, scale_ + 1 - (digits.size() - sign), '0');
    return digits.insert(digits.size() - scale_, 1, '.');
}

bool is_timestamp(const Json& field) noexcept { return is_tagged(field, timestamp_tag, timestamp_size); }
bool is_decimal(const Json& field) noexcept { return is_tagged(field, decimal_tag, decimal_size); }

}  // namespace kombu

namespace nlohmann {

void adl_serializer<kombu::Timestamp>::to_json(kombu::Json& field, const kombu::Timestamp& value) {
    std::vector<std::uint8_t> bytes;
    kombu::append_big_endian(bytes, value.seconds(), kombu::timestamp_size);
    field = kombu::Json::binary(std::move(bytes), kombu::timestamp_tag);
}

kombu::Timestamp adl_serializer<kombu::Timestamp>::from_json(const kombu::Json& field) {
    if (!kombu::is_timestamp(field)) throw kombu::DecodeError("the value is not a timestamp");
    return kombu::read_big_endian(field.get_binary(), 0);
}

void adl_serializer<kombu::Decimal>::to_json(kombu::Json& field, const kombu::Decimal& value) {
    std::vector<std::uint8_t> bytes{value.scale()};
    kombu::append_big_endian(bytes, static_cast<std::uint32_t>(value.unscaled()), kombu::decimal_size - 1);
    field = kombu::Json::binary(std::move(bytes), kombu::decimal_tag);
}

kombu::Decimal adl_serializer<kombu::Decimal>::from_json(const kombu::Json& field) {
    if (!kombu::is_decimal(field)) throw kombu::DecodeError("the value is not a decimal number");
    const auto& bytes = field.get_binary();
    return {static_cast<std::int32_t>(static_cast<std::uint32_t>(kombu::read_big_endian(bytes, 1))), bytes[0]};
}

}  // namespace nlohmann
