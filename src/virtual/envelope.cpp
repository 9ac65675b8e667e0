// SPDX-License-Identifier: BSD-3-Clause
#include "virtual/envelope.hpp"

#include <kombu/error.hpp>

#include "messages/python_json.hpp"
#include "support/base64.hpp"
#include "support/pieces.hpp"

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

/// A number that does not fit counts as missing.
template <class Number>
std::optional<Number> to_number(std::string_view value) {
    Number result{};
    const char* const end = value.data() + value.size();
    if (const auto parsed = std::from_chars(value.data(), end, result); parsed.ec == std::errc{} && parsed.ptr == end)
        return result;
    const Json number = Json::parse(value, nullptr, false);
    if (number.is_number_float()) {
        const auto real = number.get<double>();
        using Limits = std::numeric_limits<Number>;
        const bool fits = real >= static_cast<double>(Limits::lowest()) && real < std::ldexp(1.0, Limits::digits);
        return fits ? std::optional{static_cast<Number>(real)} : std::nullopt;
    }
    return std::nullopt;
}

/// The delivery tag as text; some senders use numbers.
std::optional<std::string> to_tag(std::string_view value) {
    if (value.starts_with('"')) return json_text::to_text(value);
    const bool is_number = value.starts_with('-') || (value.front() >= '0' && value.front() <= '9');
    return is_number ? std::optional{std::string{value}} : std::nullopt;
}

/// What an envelope's properties have beside those of the message.
struct Addressing {
    std::optional<std::string> delivery_tag{};
    std::optional<json_text::Span> delivery_info{};
    bool is_base64 = false;
};

/// The text of a value; nothing for other values. A text that is not valid Unicode becomes a header error.
std::optional<std::string> read_text(std::string_view value, Delivery& delivery) {
    auto text = json_text::to_text(value);
    if (!text && value.starts_with('"')) delivery.header_error = "the properties have a text that is not valid Unicode";
    return text;
}

Addressing read_properties(std::string_view text, std::size_t object, Delivery& delivery) {
    Addressing addressing;
    Properties& to = delivery.properties;
    for (json_text::MemberReader members{text, object}; members.next();) {
        const std::string_view name = members.name(), value = members.value().of(text);
        if (name == "delivery_info")
            addressing.delivery_info = members.value();
        else if (name == "delivery_tag")
            addressing.delivery_tag = to_tag(value);
        else if (name == "body_encoding")
            addressing.is_base64 = json_text::to_text(value) == "base64";
        else if (name == "delivery_mode")
            to.delivery_mode = to_number<int>(value);
        else if (name == "priority")
            to.priority = to_number<int>(value);
        else if (name == "correlation_id")
            to.correlation_id = read_text(value, delivery);
        else if (name == "reply_to")
            to.reply_to = read_text(value, delivery);
        else if (name == "expiration")
            to.expiration = read_text(value, delivery);
        else if (name == "message_id")
            to.message_id = read_text(value, delivery);
        else if (name == "timestamp")
            to.timestamp = to_number<std::uint64_t>(value);
        else if (name == "type")
            to.type = read_text(value, delivery);
        else if (name == "user_id")
            to.user_id = read_text(value, delivery);
        else if (name == "app_id")
            to.app_id = read_text(value, delivery);
        else if (name == "cluster_id")
            to.cluster_id = read_text(value, delivery);
    }
    return addressing;
}

Json decode_headers(std::string_view text) {
    Json headers = Json::parse(text, nullptr, false);
    if (headers.is_discarded())
        throw DecodeError("the headers have a number that is too large, or a text that is not valid Unicode");
    return headers;
}

/// `text`: without quotes and escapes.
void decode_body(std::string_view text, Delivery& delivery) {
    if (auto decoded = base64::decode(text))
        delivery.body = std::move(*decoded);
    else
        delivery.header_error = "the body is not valid base64, which its envelope declares";
}

void read_body(std::string_view value, bool is_base64, Delivery& delivery) {
    const bool is_text = value.starts_with('"');
    if (is_text && is_base64 && value.find('\\') == std::string_view::npos) {
        decode_body(value.substr(1, value.size() - 2), delivery);  // without a copy
    } else if (!is_text) {
        const Json body = Json::parse(value, nullptr, false);
        if (body.is_discarded())
            delivery.header_error = "the body has a number that is too large, or a text that is not valid Unicode";
        else
            json_text::append_python_json(delivery.body, body);
    } else if (auto text = json_text::to_text(value); !text) {
        delivery.header_error = "the body is a text that is not valid Unicode";
    } else if (is_base64) {
        decode_body(*text, delivery);
    } else {
        delivery.body = std::move(*text);
    }
}

/// The mark of an object. Of members with one name the last counts: a mark at the end overrules another value.
Insertion make_mark(std::string_view text, json_text::Span object, bool has_member) {
    if (has_member) return {object.end - 1, R"(, "redelivered": true)"};
    const bool is_empty = text.find_first_not_of(" \t\r\n", object.begin + 1) == object.end - 1;
    return {object.begin + 1, is_empty ? R"("redelivered": true)" : R"("redelivered": true, )"};
}

/// The marks of an envelope with these headers and this delivery_info.
std::vector<Insertion> make_marks(std::string_view text, const std::optional<json_text::Span>& headers,
                                  const std::optional<json_text::Span>& delivery_info) {
    std::vector<Insertion> insertions;
    for (const auto& object : {headers, delivery_info}) {
        if (!object || text[object->begin] != '{') continue;
        const auto member = json_text::member(text, object->begin, "redelivered");
        if (member && member->of(text) == "true") continue;
        insertions.push_back(make_mark(text, *object, member.has_value()));
    }
    if (insertions.size() == 2 && insertions[0].at > insertions[1].at) std::swap(insertions[0], insertions[1]);
    return insertions;
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
    const auto missing = [&](const char* what) {
        error = std::string{"it has no "} + what;
        return std::nullopt;
    };
    if (!json_text::is_well_formed(text) || text[text.find_first_not_of(" \t\r\n")] != '{') {
        error = "it is not a JSON object";
        return std::nullopt;
    }
    ParsedEnvelope parsed;
    Delivery& delivery = *parsed.delivery;
    std::string_view body;
    std::optional<json_text::Span> headers, properties;
    for (json_text::MemberReader members{text, 0}; members.next();) {
        const std::string_view name = members.name(), value = members.value().of(text);
        if (name == "body")
            body = value;
        else if (name == "headers")
            headers = members.value();
        else if (name == "properties")
            properties = members.value();
        else if (name == "content-type")
            delivery.properties.content_type = read_text(value, delivery);
        else if (name == "content-encoding")
            delivery.properties.content_encoding = read_text(value, delivery);
    }
    if (body.empty() || body == "null") return missing("body");
    if (!properties || text[properties->begin] != '{') return missing("properties");
    Addressing addressing = read_properties(text, properties->begin, delivery);
    if (!addressing.delivery_tag) return missing("delivery_tag");
    parsed.delivery_tag = std::move(*addressing.delivery_tag);
    if (!addressing.delivery_info || text[addressing.delivery_info->begin] != '{') return missing("delivery_info");
    std::optional<std::string> exchange, routing_key;
    bool is_redelivered = false;
    for (json_text::MemberReader members{text, addressing.delivery_info->begin}; members.next();) {
        const std::string_view value = members.value().of(text);
        if (members.name() == "exchange")
            exchange = json_text::to_text(value);
        else if (members.name() == "routing_key")
            routing_key = json_text::to_text(value);
        else if (members.name() == "redelivered")
            is_redelivered = value == "true";
    }
    if (!exchange) return missing("exchange");
    if (!routing_key) return missing("routing_key");
    delivery.info.exchange = std::move(*exchange);
    delivery.info.routing_key = std::move(*routing_key);
    if (headers && text[headers->begin] == '{' && headers->of(text) != "{}") {
        delivery.encoded_headers = {headers->of(text), decode_headers};
        const auto mark = json_text::member(text, headers->begin, "redelivered");
        is_redelivered |= mark && mark->of(text) == "true";
    }
    delivery.info.redelivered = is_redelivered;
    read_body(body, addressing.is_base64, delivery);
    parsed.redelivered_marks = make_marks(text, headers, addressing.delivery_info);
    return parsed;
}

std::vector<Insertion> redelivered_marks(std::string_view text, std::size_t begin) {
    const auto properties = json_text::member(text, begin, "properties");
    return make_marks(text, json_text::member(text, begin, "headers"),
                      properties ? json_text::member(text, properties->begin, "delivery_info") : std::nullopt);
}

std::string unacked_suffix(std::string_view queue) {
    std::string suffix = R"(, "", )";
    json_text::append_python_string(suffix, queue);
    suffix += ']';
    return suffix;
}

std::optional<UnackedRecord> parse_unacked_record(std::string_view text) {
    if (!json_text::is_well_formed(text)) return std::nullopt;
    const auto envelope = json_text::element(text, 0, 0), exchange = json_text::element(text, 0, 1),
               routing_key = json_text::element(text, 0, 2);
    if (!envelope || text[envelope->begin] != '{' || !routing_key || json_text::element(text, 0, 3))
        return std::nullopt;
    UnackedRecord parsed{.envelope = *envelope};
    parsed.exchange = json_text::to_text(exchange->of(text)).value_or("");
    parsed.routing_key = json_text::to_text(routing_key->of(text)).value_or("");
    const auto properties = json_text::member(text, envelope->begin, "properties");
    const auto priority = properties ? json_text::member(text, properties->begin, "priority") : std::nullopt;
    if (priority) parsed.priority = to_number<int>(priority->of(text)).value_or(0);
    return parsed;
}

}  // namespace kombu::envelope
