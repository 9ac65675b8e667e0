// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/table.hpp"

#include "support/utf8.hpp"

#include <kombu/error.hpp>
#include <kombu/field.hpp>

#include "amqp/frame.hpp"
#include "amqp/table_check.hpp"
#include "messages/forbidden_value.hpp"

#include <cstdint>
#include <limits>
#include <utility>

namespace kombu::amqp {
namespace {

amqp_field_value_t encode_integer(std::int64_t number) {
    amqp_field_value_t field{};
    if (number >= std::numeric_limits<std::int32_t>::min() && number <= std::numeric_limits<std::int32_t>::max()) {
        field.kind = AMQP_FIELD_KIND_I32;
        field.value.i32 = static_cast<std::int32_t>(number);
    } else {
        // RabbitMQ reads both tags as signed. py-amqp takes 'l' for unsigned; other clients do not know 'L'.
        field.kind = number < 0 ? AMQP_FIELD_KIND_U64 : AMQP_FIELD_KIND_I64;
        field.value.i64 = number;
    }
    return field;
}

Json text_or_binary(std::string_view text) {
    if (is_utf8(text)) return Json(std::string{text});
    return Json::binary(std::vector<std::uint8_t>(text.begin(), text.end()));
}

Json to_json(const amqp_field_value_t& field) {
    switch (field.kind) {
        case AMQP_FIELD_KIND_BOOLEAN: return field.value.boolean != 0;
        case AMQP_FIELD_KIND_I8: return field.value.i8;
        case AMQP_FIELD_KIND_U8: return field.value.u8;
        case AMQP_FIELD_KIND_I16: return field.value.i16;
        case AMQP_FIELD_KIND_U16: return field.value.u16;
        case AMQP_FIELD_KIND_I32: return field.value.i32;
        case AMQP_FIELD_KIND_U32: return field.value.u32;
        case AMQP_FIELD_KIND_I64:
        case AMQP_FIELD_KIND_U64: return field.value.i64;  // signed to RabbitMQ and py-amqp
        case AMQP_FIELD_KIND_TIMESTAMP: return Timestamp{field.value.u64};
        case AMQP_FIELD_KIND_F32: return field.value.f32;
        case AMQP_FIELD_KIND_F64: return field.value.f64;
        case AMQP_FIELD_KIND_DECIMAL:
            return Decimal{static_cast<std::int32_t>(field.value.decimal.value), field.value.decimal.decimals};
        case AMQP_FIELD_KIND_UTF8: return text_or_binary(view(field.value.bytes));
        case AMQP_FIELD_KIND_BYTES: {
            const std::string_view data = view(field.value.bytes);
            return Json::binary(std::vector<std::uint8_t>(data.begin(), data.end()));
        }
        case AMQP_FIELD_KIND_TABLE: return amqp::to_json(field.value.table);
        case AMQP_FIELD_KIND_ARRAY: {
            Json array = Json::array();
            for (int i = 0; i < field.value.array.num_entries; ++i)
                array.push_back(to_json(field.value.array.entries[i]));
            return array;
        }
        default: return nullptr;
    }
}

}  // namespace

amqp_table_t TableEncoder::encode(const Json& object, std::string_view name) {
    if (!object.is_object()) throw EncodeError(std::string{name} + ": must be a JSON object");
    if (const auto forbidden = find_forbidden_value(object, name, amqp_rules)) throw EncodeError(*forbidden);
    return encode_table(object);
}

amqp_table_t TableEncoder::encode_table(const Json& object) {
    if (object.empty()) return {};
    std::vector<amqp_table_entry_t> entries;
    entries.reserve(object.size());
    for (const auto& [key, value] : object.get_ref<const Json::object_t&>())
        entries.push_back({bytes(key), encode_value(value)});
    const amqp_table_t table{static_cast<int>(entries.size()), entries.data()};
    tables_.push_back(std::move(entries));
    return table;
}

amqp_field_value_t TableEncoder::encode_value(const Json& json) {
    amqp_field_value_t field{};
    switch (json.type()) {
        case Json::value_t::boolean:
            field.kind = AMQP_FIELD_KIND_BOOLEAN;
            field.value.boolean = json.get<bool>() ? 1 : 0;
            return field;
        case Json::value_t::number_integer:
        case Json::value_t::number_unsigned: return encode_integer(json.get<std::int64_t>());
        case Json::value_t::number_float:
            field.kind = AMQP_FIELD_KIND_F64;
            field.value.f64 = json.get<double>();
            return field;
        case Json::value_t::string:
            field.kind = AMQP_FIELD_KIND_UTF8;
            field.value.bytes = bytes(json.get_ref<const std::string&>());
            return field;
        case Json::value_t::binary: {
            if (is_timestamp(json)) {
                field.kind = AMQP_FIELD_KIND_TIMESTAMP;
                field.value.u64 = json.get<Timestamp>().seconds();
                return field;
            }
            if (is_decimal(json)) {
                const auto decimal = json.get<Decimal>();
                field.kind = AMQP_FIELD_KIND_DECIMAL;
                field.value.decimal = {decimal.scale(), static_cast<std::uint32_t>(decimal.unscaled())};
                return field;
            }
            const auto& data = json.get_binary();
            field.kind = AMQP_FIELD_KIND_BYTES;
            field.value.bytes = bytes({reinterpret_cast<const char*>(data.data()), data.size()});
            return field;
        }
        case Json::value_t::object:
            field.kind = AMQP_FIELD_KIND_TABLE;
            field.value.table = encode_table(json);
            return field;
        case Json::value_t::array: {
            std::vector<amqp_field_value_t> values;
            values.reserve(json.size());
            for (const Json& element : json) values.push_back(encode_value(element));
            field.kind = AMQP_FIELD_KIND_ARRAY;
            field.value.array = {static_cast<int>(values.size()), values.data()};
            arrays_.push_back(std::move(values));
            return field;
        }
        default: field.kind = AMQP_FIELD_KIND_VOID; return field;
    }
}

Json to_json(const amqp_table_t& table) {
    Json object = Json::object();
    for (int i = 0; i < table.num_entries; ++i)
        object[std::string{view(table.entries[i].key)}] = to_json(table.entries[i].value);
    return object;
}

amqp_basic_properties_t encode_properties(const Properties& from, TableEncoder& tables) {
    amqp_basic_properties_t to{};
    const auto text = [&](const std::optional<std::string>& value, amqp_bytes_t& field, amqp_flags_t flag) {
        if (!value) return;
        field = bytes(*value);
        to._flags |= flag;
    };
    text(from.content_type, to.content_type, AMQP_BASIC_CONTENT_TYPE_FLAG);
    text(from.content_encoding, to.content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG);
    to.headers = tables.encode(from.headers, "headers");
    to._flags |= AMQP_BASIC_HEADERS_FLAG;  // Kombu sends the table also when it is empty
    if (from.delivery_mode) {
        to.delivery_mode = static_cast<std::uint8_t>(*from.delivery_mode);
        to._flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
    }
    if (from.priority) {
        to.priority = static_cast<std::uint8_t>(*from.priority);
        to._flags |= AMQP_BASIC_PRIORITY_FLAG;
    }
    text(from.correlation_id, to.correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG);
    text(from.reply_to, to.reply_to, AMQP_BASIC_REPLY_TO_FLAG);
    text(from.expiration, to.expiration, AMQP_BASIC_EXPIRATION_FLAG);
    text(from.message_id, to.message_id, AMQP_BASIC_MESSAGE_ID_FLAG);
    if (from.timestamp) {
        to.timestamp = *from.timestamp;
        to._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
    }
    text(from.type, to.type, AMQP_BASIC_TYPE_FLAG);
    text(from.user_id, to.user_id, AMQP_BASIC_USER_ID_FLAG);
    text(from.app_id, to.app_id, AMQP_BASIC_APP_ID_FLAG);
    text(from.cluster_id, to.cluster_id, AMQP_BASIC_CLUSTER_ID_FLAG);
    return to;
}

Json decode_headers(std::string_view encoded) {
    thread_local DecodeMemory memory;
    amqp_table_t table{};
    std::size_t offset = 0;
    if (amqp_decode_table(bytes(encoded), memory.reuse(), &table, &offset) < 0)
        throw DecodeError("the headers are malformed");
    return to_json(table);
}

void decode_properties(std::string_view encoded, DecodeMemory& memory, Delivery& delivery) {
    std::string stripped;
    if (const auto headers = find_headers(encoded); !headers.empty()) {
        if (is_malformed_or_too_deep(headers))
            delivery.header_error = "the headers are malformed or nest more than 64 levels deep";
        else
            delivery.encoded_headers = {headers, decode_headers};
        stripped = without_headers(encoded, headers);
        encoded = stripped;
    }
    void* decoded = nullptr;
    if (amqp_decode_properties(AMQP_BASIC_CLASS, memory.reuse(), bytes(encoded), &decoded) < 0 || !decoded)
        throw ConnectionError("the peer sent a content header with malformed properties", 502, false);
    const auto& from = *static_cast<const amqp_basic_properties_t*>(decoded);

    Properties& to = delivery.properties;
    const auto text = [&](std::optional<std::string>& field, const amqp_bytes_t& value, amqp_flags_t flag) {
        if (from._flags & flag) field.emplace(view(value));
    };
    text(to.content_type, from.content_type, AMQP_BASIC_CONTENT_TYPE_FLAG);
    text(to.content_encoding, from.content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG);
    if (from._flags & AMQP_BASIC_DELIVERY_MODE_FLAG) to.delivery_mode = from.delivery_mode;
    if (from._flags & AMQP_BASIC_PRIORITY_FLAG) to.priority = from.priority;
    text(to.correlation_id, from.correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG);
    text(to.reply_to, from.reply_to, AMQP_BASIC_REPLY_TO_FLAG);
    text(to.expiration, from.expiration, AMQP_BASIC_EXPIRATION_FLAG);
    text(to.message_id, from.message_id, AMQP_BASIC_MESSAGE_ID_FLAG);
    if (from._flags & AMQP_BASIC_TIMESTAMP_FLAG) to.timestamp = from.timestamp;
    text(to.type, from.type, AMQP_BASIC_TYPE_FLAG);
    text(to.user_id, from.user_id, AMQP_BASIC_USER_ID_FLAG);
    text(to.app_id, from.app_id, AMQP_BASIC_APP_ID_FLAG);
    text(to.cluster_id, from.cluster_id, AMQP_BASIC_CLUSTER_ID_FLAG);
}

}  // namespace kombu::amqp
