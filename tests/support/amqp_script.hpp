// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/scripted_peer.hpp"

#include "amqp/frame.hpp"

#include <string>
#include <string_view>

/// Frames of a broker, for tests that play one. librabbitmq encodes them.
namespace script {

template <class Fields>
std::string method(std::uint16_t channel, amqp_method_number_t number, Fields fields) {
    std::string out;
    kombu::amqp::append_method(out, channel, number, &fields, 131072);
    return out;
}

inline std::string content(std::uint16_t channel, std::string_view body, amqp_basic_properties_t properties = {}) {
    std::string out;
    const std::size_t size_at = kombu::amqp::append_content_header(out, channel, properties, 131072);
    kombu::amqp::write_body_size(out.data() + size_at, body.size());
    kombu::amqp::append_body(out, channel, body, 131072);
    return out;
}

inline std::string start() {
    amqp_connection_start_t fields{};
    fields.version_minor = 9;
    fields.mechanisms = kombu::amqp::bytes("AMQPLAIN PLAIN");
    fields.locales = kombu::amqp::bytes("en_US");
    return method(0, AMQP_CONNECTION_START_METHOD, fields);
}
inline std::string tune(std::uint16_t channel_max = 2047, std::uint32_t frame_max = 131072) {
    return method(0, AMQP_CONNECTION_TUNE_METHOD, amqp_connection_tune_t{channel_max, frame_max, 60});
}
inline std::string open_ok() { return method(0, AMQP_CONNECTION_OPEN_OK_METHOD, amqp_connection_open_ok_t{}); }
inline std::string close_connection(std::uint16_t code, std::string_view text) {
    return method(0, AMQP_CONNECTION_CLOSE_METHOD, amqp_connection_close_t{code, kombu::amqp::bytes(text), 0, 0});
}
inline std::string channel_open_ok(std::uint16_t channel = 1) {
    return method(channel, AMQP_CHANNEL_OPEN_OK_METHOD, amqp_channel_open_ok_t{});
}
inline std::string confirm_ok(std::uint16_t channel = 1) {
    return method(channel, AMQP_CONFIRM_SELECT_OK_METHOD, amqp_confirm_select_ok_t{});
}
inline std::string ack(std::uint64_t tag, bool multiple = false, std::uint16_t channel = 1) {
    return method(channel, AMQP_BASIC_ACK_METHOD, amqp_basic_ack_t{tag, multiple});
}
inline std::string blocked(std::string_view reason) {
    return method(0, AMQP_CONNECTION_BLOCKED_METHOD, amqp_connection_blocked_t{kombu::amqp::bytes(reason)});
}
inline std::string returned(std::string_view routing_key = "key", std::string_view body = "body",
                            amqp_basic_properties_t properties = {}) {
    amqp_basic_return_t fields{312, kombu::amqp::bytes("NO_ROUTE"), kombu::amqp::bytes("ex"),
                               kombu::amqp::bytes(routing_key)};
    return method(1, AMQP_BASIC_RETURN_METHOD, fields) + content(1, body, properties);
}

/// Plays the log-in.
inline void log_in(PeerSocket& peer) {
    peer.receive(8);
    peer.send(start());
    peer.receive_frame();
    peer.send(tune());
    peer.receive_frame();
    peer.receive_frame();
    peer.send(open_ok());
}
/// Plays the log-in and the opening of channel 1 with confirms.
inline void open_channel(PeerSocket& peer) {
    log_in(peer);
    peer.receive_frame();
    peer.receive_frame();
    peer.send(channel_open_ok() + confirm_ok());
}
/// Receives one published message with a single body frame.
inline void receive_publish(PeerSocket& peer) {
    for (int i = 0; i < 3; ++i) peer.receive_frame();
}

}  // namespace script
