// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>
#include <kombu/message.hpp>

#include <amqp.h>
#include <amqp_framing.h>

#include "amqp/frame.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::amqp {

/// Encodes Json objects as AMQP tables, with the types that py-amqp chooses: text as long string, integers as 32 or 64
/// bits, bytes as a byte array. The result refers to the given values and to this object's memory.
class TableEncoder {
public:
    /// `name`: of the object, for errors. Throws EncodeError, with the path of the value, when the value is not an
    /// object, or breaks amqp_rules.
    amqp_table_t encode(const Json& object, std::string_view name);

private:
    amqp_table_t encode_table(const Json& object);
    amqp_field_value_t encode_value(const Json& json);

    // The inner vectors are not changed once they are here: the result refers to their elements.
    std::vector<std::vector<amqp_table_entry_t>> tables_;
    std::vector<std::vector<amqp_field_value_t>> arrays_;
};

/// Converts an AMQP table to a Json object. Text that is not UTF-8 becomes a Json binary.
Json to_json(const amqp_table_t& table);

/// Encodes properties for librabbitmq. The result refers to `from` and to the encoder's memory.
amqp_basic_properties_t encode_properties(const Properties& from, TableEncoder& tables);

/// Decodes the headers of a message, an encoded table that is_malformed_or_too_deep() accepts. Throws DecodeError.
Json decode_headers(std::string_view encoded);

/// Decodes the properties of a content header; `encoded` begins after the body size. The headers are left to who asks
/// for them. Those that are malformed or nest too deep are left out and described in its `header_error`: the message
/// can still be settled. Throws ConnectionError when the properties are malformed.
void decode_properties(std::string_view encoded, DecodeMemory& memory, Delivery& delivery);

}  // namespace kombu::amqp
