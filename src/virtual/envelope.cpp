#include "virtual/envelope.hpp"

#include <kombu/error.hpp>

#include "support/base64.hpp"
#include "support/utf8.hpp"

#include <charconv>
#include <cstdint>
#include <utility>

namespace kombu::envelope {
namespace {

constexpr std::string_view begin_base64 = R"({"body": ")";
constexpr std::string_view begin_text = R"({"body": )";
constexpr std::string_view end = R"("}})";
/// More than any sender nests; deeper ones would be taken apart by recursion.
constexpr std::size_t max_depth = 256;

void append_member(std::string& out, std::string_view name, const std::optional<std::string>& value) {
    if (!value) return;
    out += '"';
    out += name;
    out += "\": ";
    json_text::append_string(out, *value);
    out += ", ";
}

void append_text(std::string& out, const std::optional<std::string>& value) {
    if (value)
        json_text::append_string(out, *value);
    else
        out += "null";
}

std::optional<std::string> text_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
}

template <class Number>
std::optional<Number> number_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_number()) return std::nullopt;
    return found->get<Number>();
}

bool is_true(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::optional<Json> parse(std::string_view text) {
    bool too_deep = false;
    const Json::parser_callback_t guard = [&](int depth, Json::parse_event_t, Json&) {
        too_deep = too_deep || depth > static_cast<int>(max_depth);
        return !too_deep;
    };
    Json parsed = Json::parse(text.begin(), text.end(), guard, false);
    if (parsed.is_discarded() || too_deep) return std::nullopt;
    return parsed;
}

Properties properties_of(const Json& envelope, const Json& sent) {
    Properties properties;
    properties.content_type = text_of(envelope, "content-type");
    properties.content_encoding = text_of(envelope, "content-encoding");
    if (const auto headers = envelope.find("headers"); headers != envelope.end() && headers->is_object())
        properties.headers = *headers;
    properties.delivery_mode = number_of<int>(sent, "delivery_mode");
    properties.priority = number_of<int>(sent, "priority");
    properties.correlation_id = text_of(sent, "correlation_id");
    properties.reply_to = text_of(sent, "reply_to");
    properties.expiration = text_of(sent, "expiration");
    properties.message_id = text_of(sent, "message_id");
    properties.timestamp = number_of<std::uint64_t>(sent, "timestamp");
    properties.type = text_of(sent, "type");
    properties.user_id = text_of(sent, "user_id");
    properties.app_id = text_of(sent, "app_id");
    properties.cluster_id = text_of(sent, "cluster_id");
    return properties;
}

void decode_body(Delivery& delivery, const Json& body, const Json& sent) {
    if (!body.is_string()) {
        json_text::append(delivery.body, body);
        return;
    }
    const auto& text = body.get_ref<const std::string&>();
    if (text_of(sent, "body_encoding").value_or("") != "base64") {
        delivery.body = text;
    } else if (auto decoded = base64::decode(text)) {
        delivery.body = std::move(*decoded);
    } else {
        delivery.header_error = "the body is not the base64 that its envelope says it is";
    }
}

}  // namespace

Frame::Frame(const Properties& properties, std::string_view exchange, std::string_view routing_key,
             BodyEncoding encoding)
    : encoding_(encoding) {
    const bool base64 = encoding == BodyEncoding::base64;
    std::string& out = behind_body_;
    out.reserve(400);
    out += base64 ? R"(", "content-encoding": )" : R"(, "content-encoding": )";
    append_text(out, properties.content_encoding);
    out += R"(, "content-type": )";
    append_text(out, properties.content_type);
    out += R"(, "headers": )";
    if (properties.headers.is_object())
        json_text::append(out, properties.headers);
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
    json_text::append_string(out, exchange);
    out += R"(, "routing_key": )";
    json_text::append_string(out, routing_key);
    out += R"(}, "priority": )" + std::to_string(properties.priority.value_or(0));
    out +=
        base64 ? R"(, "body_encoding": "base64", "delivery_tag": ")" : R"(, "body_encoding": null, "delivery_tag": ")";
}

std::string_view Frame::prepare(std::string_view body, std::string& memory) const {
    if (encoding_ == BodyEncoding::base64) return body;
    if (!is_utf8(body)) throw EncodeError("body_encoding: a body that is not text can only be sent in base64");
    memory.clear();
    json_text::append_string(memory, body);
    return memory;
}

std::size_t Frame::size(std::string_view prepared, std::size_t tag) const noexcept {
    const bool base64 = encoding_ == BodyEncoding::base64;
    return (base64 ? begin_base64.size() + base64::encoded_size(prepared.size())
                   : begin_text.size() + prepared.size()) +
           behind_body_.size() + tag + end.size();
}

void Frame::append(std::string& out, std::string_view prepared, std::string_view tag) const {
    if (encoding_ == BodyEncoding::base64) {
        out += begin_base64;
        base64::append_encoded(out, prepared);
    } else {
        out += begin_text;
        out += prepared;
    }
    out += behind_body_;
    out += tag;
    out += end;
}

std::optional<Opened> open(std::string_view text, std::string& why) {
    const auto envelope = parse(text);
    if (!envelope || !envelope->is_object()) {
        why = "it is not a JSON object";
        return std::nullopt;
    }
    const auto missing = [&](const char* what) {
        why = std::string{"it has no "} + what;
        return std::nullopt;
    };
    const auto body = envelope->find("body");
    if (body == envelope->end() || body->is_null()) return missing("body");
    const auto sent = envelope->find("properties");
    if (sent == envelope->end() || !sent->is_object()) return missing("properties");
    const auto tag = sent->find("delivery_tag");
    if (tag == sent->end() || !(tag->is_string() || tag->is_number())) return missing("delivery_tag");
    const auto info = sent->find("delivery_info");
    if (info == sent->end() || !info->is_object()) return missing("delivery_info");
    auto exchange = text_of(*info, "exchange");
    if (!exchange) return missing("exchange");
    auto routing_key = text_of(*info, "routing_key");
    if (!routing_key) return missing("routing_key");

    Opened opened;
    opened.tag = tag->is_string() ? tag->get<std::string>() : tag->dump();
    opened.delivery.properties = properties_of(*envelope, *sent);
    opened.delivery.info.redelivered =
        is_true(opened.delivery.properties.headers, "redelivered") || is_true(*info, "redelivered");
    opened.delivery.info.exchange = std::move(*exchange);
    opened.delivery.info.routing_key = std::move(*routing_key);
    decode_body(opened.delivery, *body, *sent);
    return opened;
}

std::vector<Insertion> redelivery(std::string_view text, std::size_t begin) {
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

std::string held_suffix(std::string_view queue) {
    std::string suffix = R"(, "", )";
    json_text::append_string(suffix, queue);
    suffix += ']';
    return suffix;
}

std::optional<Held> parse_held(std::string_view text) {
    const auto record = parse(text);
    if (!record || !record->is_array() || record->size() != 3 || !(*record)[0].is_object()) return std::nullopt;
    const auto span = json_text::element(text, 0, 0);
    if (!span) return std::nullopt;
    Held held{.envelope = *span};
    const auto word = [](const Json& value) { return value.is_string() ? value.get<std::string>() : std::string{}; };
    held.exchange = word((*record)[1]);
    held.routing_key = word((*record)[2]);
    const auto properties = (*record)[0].find("properties");
    if (properties != (*record)[0].end() && properties->is_object())
        held.priority = number_of<int>(*properties, "priority").value_or(0);
    return held;
}

}  // namespace kombu::envelope
