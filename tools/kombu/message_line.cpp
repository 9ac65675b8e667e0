// SPDX-License-Identifier: BSD-3-Clause
#include "message_line.hpp"

#include <kombu/error.hpp>

#include <openssl/evp.h>

#include <cstdio>
#include <utility>

namespace kombu::command {
namespace {

std::string base64(const unsigned char* data, std::size_t size) {
    std::string text(4 * ((size + 2) / 3) + 1, '\0');  // EVP_EncodeBlock ends it with a NUL
    const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), data, static_cast<int>(size));
    text.resize(static_cast<std::size_t>(length));
    return text;
}

void add_body(const Message& message, Json& line) {
    const auto add_raw = [&](const std::string& error) {
        const std::string& raw = message.raw_body();
        line["body_base64"] = base64(reinterpret_cast<const unsigned char*>(raw.data()), raw.size());
        line["error"] = error;
    };
    try {
        const Json& payload = message.payload();
        if (payload.is_binary())
            line["body_base64"] = base64(payload.get_binary().data(), payload.get_binary().size());
        else
            line["body"] = payload;
    } catch (const SerializationError& error) {
        add_raw(error.what());
    } catch (const SerializerNotInstalled& error) {
        add_raw(error.what());
    }
}

Json headers_of(const Message& message) {
    try {
        return message.headers();
    } catch (const DecodeError&) {
        return nullptr;
    }
}

}  // namespace

std::string message_line(const Message& message) {
    const Properties& from = message.properties();
    Json properties = Json::object();
    const auto add = [&](const char* name, const auto& value) {
        if (value) properties[name] = *value;
    };
    add("content_type", from.content_type);
    add("content_encoding", from.content_encoding);
    add("delivery_mode", from.delivery_mode);
    add("priority", from.priority);
    add("correlation_id", from.correlation_id);
    add("reply_to", from.reply_to);
    add("expiration", from.expiration);
    add("message_id", from.message_id);
    add("timestamp", from.timestamp);
    add("type", from.type);
    add("user_id", from.user_id);
    add("app_id", from.app_id);
    Json line = {{"exchange", message.delivery_info().exchange},
                 {"routing_key", message.delivery_info().routing_key},
                 {"redelivered", message.redelivered()},
                 {"headers", headers_of(message)},
                 {"properties", std::move(properties)}};
    add_body(message, line);
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print_message(const Message& message) {
    const std::string line = message_line(message) + '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0)
        throw OutputClosed{};
}

}  // namespace kombu::command
