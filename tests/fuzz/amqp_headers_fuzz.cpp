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
    if (delivery.header_error) return;
    try {
        if (!delivery.encoded_headers.empty()) delivery.properties.headers = delivery.encoded_headers.decode();
    } catch (const DecodeError&) {
        return;
    }
    try {
        amqp::TableEncoder tables;
        (void)amqp::encode_properties(delivery.properties, tables);
    } catch (const EncodeError&) {  // a NaN, for one
    }
}
