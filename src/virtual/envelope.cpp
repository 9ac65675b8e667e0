// SPDX-License-Identifier: BSD-3-Clause
#include "virtual/envelope.hpp"

#include <kombu/error.hpp>

#include "messages/json_depth.hpp"
#include "support/base64.hpp"
#include "support/pieces.hpp"
#include "support/utf8.hpp"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

namespace kombu::envelope {
namespace {

constexpr std::string_view base64_prefix = R"({"body": ")";
constexpr std::string_view text_prefix = R"({"body": )";
constexpr std::string_view closing = R"("}})";

void append_member(std::string& out, std::string_view name, const std::optional<std::string>& value) {
    if (!value) return;
    out += '"';
    out += name;
    out += "\": ";
    json_text::append_python_string(out, *value);
    out += ", ";
}

void append_text(std::string& out, const std::optional<std::string>& value) {
    if (value)
        json_text::append_python_string(out, *value);
    else
        out += "null";
}

std::optional<std::string> text_member(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
}

/// A number that does not fit counts as missing.
template <class Number>
std::optional<Number> number_member(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_number()) return std::nullopt;
    if (found->is_number_float()) {
        const auto number = found->get<double>();
        using Limits = std::numeric_limits<Number>;
        const bool fits = number >= static_cast<double>(Limits::lowest()) && number < std::ldexp(1.0, Limits::digits);
        return fits ? std::optional{static_cast<Number>(number)} : std::nullopt;
    }
    const bool fits = found->is_number_unsigned() ? std::in_range<Number>(found->get<std::uint64_t>())
                                                  : std::in_range<Number>(found->get<std::int64_t>());
    return fits ? std::optional{found->get<Number>()} : std::nullopt;
}

bool is_true(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::optional<Json> parse_json(std::string_view text) {
    if (json_text::nests_too_deep(text)) return std::nullopt;
    Json parsed = Json::parse(text.begin(), text.end(), nullptr, false);
    if (parsed.is_discarded()) return std::nullopt;
    return parsed;
}

Properties parse_properties(const Json& envelope, const Json& json_properties) {
    Properties properties;
    properties.content_type = text_member(envelope, "content-type");
    properties.content_encoding = text_member(envelope, "content-encoding");
    if (const auto headers = envelope.find("headers"); headers != envelope.end() && headers->is_object())
        properties.headers = *headers;
    properties.delivery_mode = number_member<int>(json_properties, "delivery_mode");
    properties.priority = number_member<int>(json_properties, "priority");
    properties.correlation_id = text_member(json_properties, "correlation_id");
    properties.reply_to = text_member(json_properties, "reply_to");
    properties.expiration = text_member(json_properties, "expiration");
    properties.message_id = text_member(json_properties, "message_id");
    properties.timestamp = number_member<std::uint64_t>(json_properties, "timestamp");
    properties.type = text_member(json_properties, "type");
    properties.user_id = text_member(json_properties, "user_id");
    properties.app_id = text_member(json_properties, "app_id");
    properties.cluster_id = text_member(json_properties, "cluster_id");
    return properties;
}

void decode_body(Delivery& delivery, const Json& body, const Json& json_properties) {
    if (!body.is_string()) {
        json_text::append_python_json(delivery.body, body);
        return;
    }
    const auto& text = body.get_ref<const std::string&>();
    if (text_member(json_properties, "body_encoding").value_or("") != "base64") {
        delivery.body = text;
    } else if (auto decoded = base64::decode(text)) {
        delivery.body = std::move(*decoded);
    } else {
        delivery.header_error = "the body is not valid base64, which its envelope declares";
    }
}

}  // namespace

EnvelopeTemplate::EnvelopeTemplate(const Properties& properties, std::string_view exchange,
                                   std::string_view routing_key, BodyEncoding encoding)
    : encoding_(encoding) {
    const bool base64 = encoding == BodyEncoding::base64;
    std::string& out = suffix_;
    out.reserve(400);
    out += base64 ? R"(", "content-encoding": )" : R"(, "content-encoding": )";
    append_text(out, properties.content_encoding);
    out += R"(, "content-type": )";
    append_text(out, properties.content_type);
    out += R"(, "headers": )";
    if (properties.headers.is_object())
        json_text::append_python_json(out, properties.headers);
    else
        out += "{}";
    out += R"(, "properties": {)";
    append_member(out, "correlation_id", properties.correlation_id);
    append_member(out, "reply_to", properties.reply_to);
    append_member(out, "message_id", properties.message_id);
    if (properties.timestamp) out += R"("timestamp": )" + std::to_string(*properties.timestamp) + ", ";
    append_member(out, "type", properties.type);
    append_member(out, "user_id", properties.user_id);
    append_member(out, "app_id", properties.app_id);
    append_member(out, "cluster_id", properties.cluster_id);
    out += R"("delivery_mode": )" + std::to_string(properties.delivery_mode.value_or(2)) + ", ";
    append_member(out, "expiration", properties.expiration);
    out += R"("delivery_info": {"exchange": )";
    json_text::append_python_string(out, exchange);
    out += R"(, "routing_key": )";
    json_text::append_python_string(out, routing_key);
    out += R"(}, "priority": )" + std::to_string(properties.priority.value_or(0));
    out +=
        base64 ? R"(, "body_encoding": "base64", "delivery_tag": ")" : R"(, "body_encoding": null, "delivery_tag": ")";
}

std::string_view EnvelopeTemplate::prepare(std::string_view body, std::string& scratch, Deadline deadline) const {
    if (encoding_ == BodyEncoding::base64) return body;
    scratch.clear();
    try {
        json_text::append_python_string(scratch, body, deadline);
    } catch (const EncodeError&) {
        throw EncodeError("body_encoding: a body that is not UTF-8 text requires base64");
    }
    return scratch;
}

std::size_t EnvelopeTemplate::size(std::string_view prepared, std::size_t tag_size) const noexcept {
    const bool base64 = encoding_ == BodyEncoding::base64;
    return (base64 ? base64_prefix.size() + base64::encoded_size(prepared.size())
                   : text_prefix.size() + prepared.size()) +
           suffix_.size() + tag_size + closing.size();
}

void EnvelopeTemplate::append(std::string& out, std::string_view prepared, std::string_view tag,
                              Deadline deadline) const {
    out.reserve(out.size() + size(prepared, tag.size()));
    if (encoding_ == BodyEncoding::base64) {
        out += base64_prefix;
        constexpr std::size_t piece = 3 * (piece_size / 4);  // bytes that are whole groups of base64
        for (; prepared.size() > piece; prepared.remove_prefix(piece)) {
            base64::append_encoded(out, prepared.substr(0, piece));
            check_in_time(deadline);
        }
        base64::append_encoded(out, prepared);
    } else {
        out += text_prefix;
        append_in_pieces(out, prepared, deadline);
    }
    out += suffix_;
    out += tag;
    out += closing;
}

std::optional<ParsedEnvelope> parse(std::string_view text, std::string& error) {
    const auto envelope = parse_json(text);
    if (!envelope || !envelope->is_object()) {
        error = "it is not a JSON object";
        return std::nullopt;
    }
    const auto missing = [&](const char* what) {
        error = std::string{"it has no "} + what;
        return std::nullopt;
    };
    const auto body = envelope->find("body");
    if (body == envelope->end() || body->is_null()) return missing("body");
    const auto json_properties = envelope->find("properties");
    if (json_properties == envelope->end() || !json_properties->is_object()) return missing("properties");
    const auto tag = json_properties->find("delivery_tag");
    if (tag == json_properties->end() || !(tag->is_string() || tag->is_number())) return missing("delivery_tag");
    const auto info = json_properties->find("delivery_info");
    if (info == json_properties->end() || !info->is_object()) return missing("delivery_info");
    auto exchange = text_member(*info, "exchange");
    if (!exchange) return missing("exchange");
    auto routing_key = text_member(*info, "routing_key");
    if (!routing_key) return missing("routing_key");

    ParsedEnvelope parsed;
    parsed.delivery_tag = tag->is_string() ? tag->get<std::string>() : tag->dump();
    parsed.delivery.properties = parse_properties(*envelope, *json_properties);
    parsed.delivery.info.redelivered =
        is_true(parsed.delivery.properties.headers, "redelivered") || is_true(*info, "redelivered");
    parsed.delivery.info.exchange = std::move(*exchange);
    parsed.delivery.info.routing_key = std::move(*routing_key);
    decode_body(parsed.delivery, *body, *json_properties);
    return parsed;
}

std::vector<Insertion> redelivered_marks(std::string_view text, std::size_t begin) {
    std::vector<Insertion> insertions;
    const auto mark = [&](const std::optional<json_text::Span>& object) {
        if (!object || text[object->begin] != '{' || json_text::member(text, object->begin, "redelivered")) return;
        const bool empty = text.find_first_not_of(" \t\r\n", object->begin + 1) == object->end - 1;
        insertions.push_back({object->begin + 1, empty ? R"("redelivered": true)" : R"("redelivered": true, )"});
    };
    mark(json_text::member(text, begin, "headers"));
    if (const auto properties = json_text::member(text, begin, "properties"))
        mark(json_text::member(text, properties->begin, "delivery_info"));
    if (insertions.size() == 2 && insertions[0].at > insertions[1].at) std::swap(insertions[0], insertions[1]);
    return insertions;
}

std::string unacked_suffix(std::string_view queue) {
    std::string suffix = R"(, "", )";
    json_text::append_python_string(suffix, queue);
    suffix += ']';
    return suffix;
}

std::optional<UnackedRecord> parse_unacked_record(std::string_view text) {
    const auto record = parse_json(text);
    if (!record || !record->is_array() || record->size() != 3 || !(*record)[0].is_object()) return std::nullopt;
    const auto span = json_text::element(text, 0, 0);
    if (!span) return std::nullopt;
    UnackedRecord parsed{.envelope = *span};
    const auto text_or_empty = [](const Json& value) {
        return value.is_string() ? value.get<std::string>() : std::string{};
    };
    parsed.exchange = text_or_empty((*record)[1]);
    parsed.routing_key = text_or_empty((*record)[2]);
    const auto properties = (*record)[0].find("properties");
    if (properties != (*record)[0].end() && properties->is_object())
        parsed.priority = number_member<int>(*properties, "priority").value_or(0);
    return parsed;
}

}  // namespace kombu::envelope
