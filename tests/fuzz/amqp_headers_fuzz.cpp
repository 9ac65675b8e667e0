// SPDX-License-Identifier: BSD-3-Clause
// The properties and headers of a message as a broker sends them.
#include <kombu/error.hpp>

#include "amqp/table.hpp"
#include "fuzz.hpp"

#include <string>

void fuzz(std::string_view input) {
    using namespace kombu;
    std::optional<std::string> header_error;
    Properties properties;
    try {
        properties = amqp::decode_properties(input, header_error);
    } catch (const ConnectionError&) {
        return;
    }
    if (header_error) return;
    try {
        amqp::TableEncoder tables;
        (void)amqp::encode_properties(properties, tables);
    } catch (const EncodeError&) {  // a NaN, for one
    }
}
