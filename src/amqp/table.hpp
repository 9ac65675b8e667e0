#pragma once

#include <kombu/json.hpp>
#include <kombu/message.hpp>

#include <amqp.h>
#include <amqp_framing.h>

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::amqp {

/// Json objects as AMQP tables, in the types that py-amqp chooses: text as long string, integers as 32 or 64 bits,
/// bytes as a byte array. The result refers to the values given and to this object's memory.
class TableEncoder {
public:
    /// Throws EncodeError when the value is no object, a key is longer than 255 bytes, an integer does not fit into 64
    /// signed bits, or the nesting is deeper than 32.
    amqp_table_t table(const Json& object) { return table(object, 0); }

private:
    amqp_table_t table(const Json& object, std::size_t depth);
    amqp_field_value_t value(const Json& json, std::size_t depth);

    std::deque<std::vector<amqp_table_entry_t>> tables_;
    std::deque<std::vector<amqp_field_value_t>> arrays_;
};

/// AMQP tables as Json objects. Text that is not UTF-8 becomes a Json binary.
Json to_json(const amqp_table_t& table);

/// Properties on their way out; refers to `from` and to the encoder's memory.
amqp_basic_properties_t to_wire(const Properties& from, TableEncoder& tables);

/// The properties in a content header, from behind the body size. Headers that nest too deep are left out, and why is
/// said: the message can still be settled. Throws ConnectionError when the properties are broken.
Properties decode_properties(std::string_view encoded, std::optional<std::string>& header_error);

}  // namespace kombu::amqp
