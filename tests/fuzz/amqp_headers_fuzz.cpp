// SPDX-License-Identifier: BSD-3-Clause
// The properties and headers of a message as a broker sends them.
#include <kombu/error.hpp>

#include "amqp/table.hpp"
#include "fuzz.hpp"

#include <string>

void fuzz(std::string_view input) {
    using namespace kombu;
    static amqp::DecodeMemory memory;
    Delivery delivery;
    try {
        amqp::decode_properties(input, memory, delivery);
    } catch (const ConnectionError&) {
        return;
    }
    delivery.decode_headers();
    if (delivery.header_error) return;
    try {
        amqp::TableEncoder tables;
        (void)amqp::encode_properties(delivery.properties, tables);
    } catch (const EncodeError&) {  // a NaN, for one
    }
}
