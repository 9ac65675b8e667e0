// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/table.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kombu::amqp {

namespace {

async::Operation<ReceivedMethod> await_connection_reply(Session& session, amqp_method_number_t expected) {
    for (;;) {
        session.check();
        if (!session.connection_replies().empty()) {
            ReceivedMethod reply = std::move(session.connection_replies().front());
            session.connection_replies().pop_front();
            if (reply.method != expected)
                throw ConnectionError(session.peer() + ": unexpected method during log-in", 503, false);
            co_return reply;
        }
        co_await async::AwaitInput{};
    }
}

Json client_properties() {
    return {{"product", "kombu-cpp"},
            {"platform", "C++"},
            {"capabilities",
             {{"publisher_confirms", true},
              {"basic.nack", true},
              {"consumer_cancel_notify", true},
              {"connection.blocked", true},
              {"authentication_failure_close", true}}}};
}

BrokerInfo broker_of(const amqp_table_t& properties) {
    BrokerInfo broker;
    for (int i = 0; i < properties.num_entries; ++i) {
        const amqp_table_entry_t& entry = properties.entries[i];
        if (entry.value.kind != AMQP_FIELD_KIND_UTF8) continue;
        if (view(entry.key) == "product") broker.product = view(entry.value.value.bytes);
        if (view(entry.key) == "version") broker.version = view(entry.value.value.bytes);
    }
    return broker;
}

bool offers(std::string_view mechanisms, std::string_view wanted) {
    for (std::size_t begin = 0; begin < mechanisms.size();) {
        const std::size_t end = std::min(mechanisms.find(' ', begin), mechanisms.size());
        if (mechanisms.substr(begin, end - begin) == wanted) return true;
        begin = end + 1;
    }
    return false;
}

/// As Kombu does: no heartbeats unless this side wants them, otherwise the shorter of the intervals that are not zero.
std::chrono::seconds negotiate_heartbeat(std::chrono::seconds wanted, std::chrono::seconds offered) {
    if (wanted.count() == 0 || offered.count() == 0) return wanted;
    return std::min(wanted, offered);
}

void append_long_string(std::string& out, std::string_view text) {
    for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(text.size() >> shift);
    out += text;
}

std::string response_of(const Login& login) {
    std::string response;
    if (login.method == "EXTERNAL") return response;
    response.reserve(login.userid.size() + login.password.size() + 64);  // as above
    if (login.method == "PLAIN")
        return response.append(1, '\0').append(login.userid).append(1, '\0').append(login.password);
    // AMQPLAIN: a table without its length.
    response += "\5LOGINS";
    append_long_string(response, login.userid);
    response += "\10PASSWORDS";
    append_long_string(response, login.password);
    return response;
}

/// Of the user (403), or of the user's access to the virtual host, which RabbitMQ tells by text.
bool is_refusal_of_user(const ConnectionError& error) {
    if (error.is_retryable()) return false;  // a limit on connections
    return error.code() == AMQP_ACCESS_REFUSED ||
           (error.code() == AMQP_NOT_ALLOWED &&
            std::string_view{error.what()}.find("refused for user") != std::string_view::npos);
}

}  // namespace

async::Operation<> log_in(Session& session, Login login, std::chrono::seconds heartbeat) {
    session.output().reserve(4096);  // a reallocation would leave a copy of the password behind
    session.output().append("AMQP\x00\x00\x09\x01", 8);
    {
        const ReceivedMethod start = co_await await_connection_reply(session, AMQP_CONNECTION_START_METHOD);
        const DecodedMethod method{start.payload, session.decode_memory()};
        const auto& fields = method.as<amqp_connection_start_t>();
        if (fields.version_major != 0 || fields.version_minor != 9 || !offers(view(fields.mechanisms), login.method))
            throw ConnectionError(session.peer() + ": the broker offers no AMQP 0-9-1 with " + login.method + " log-in",
                                  0, false);
        session.set_broker(broker_of(fields.server_properties));
    }
    {
        TableEncoder tables;
        const Json properties = client_properties();
        std::string response = response_of(login);
        amqp_connection_start_ok_t start_ok{tables.encode(properties, "client properties"), bytes(login.method),
                                            bytes(response), bytes("en_US")};
        session.send(0, AMQP_CONNECTION_START_OK_METHOD, &start_ok);
        ::explicit_bzero(response.data(), response.size());
        ::explicit_bzero(login.password.data(), login.password.size());
    }
    try {
        const ReceivedMethod tune = co_await await_connection_reply(session, AMQP_CONNECTION_TUNE_METHOD);
        const DecodedMethod method{tune.payload, session.decode_memory()};
        const auto& fields = method.as<amqp_connection_tune_t>();
        session.wipe_output();  // it contained the password, which has been sent
        const std::uint16_t channel_max = fields.channel_max == 0 ? std::uint16_t{65535} : fields.channel_max;
        const std::uint32_t frame_max =
            fields.frame_max == 0 ? 131072 : std::min<std::uint32_t>(fields.frame_max, 131072);
        if (frame_max < min_frame_size)
            throw ConnectionError(session.peer() + ": the broker's frame size is below AMQP's minimum", 0, false);
        const auto negotiated = negotiate_heartbeat(heartbeat, std::chrono::seconds{fields.heartbeat});
        amqp_connection_tune_ok_t tune_ok{channel_max, frame_max, static_cast<std::uint16_t>(negotiated.count())};
        session.send(0, AMQP_CONNECTION_TUNE_OK_METHOD, &tune_ok);
        session.apply_tune(channel_max, frame_max, negotiated);
        amqp_connection_open_t open{bytes(login.virtual_host), {}, 0};
        session.send(0, AMQP_CONNECTION_OPEN_METHOD, &open);
        co_await await_connection_reply(session, AMQP_CONNECTION_OPEN_OK_METHOD);
    } catch (const ConnectionError& error) {
        if (is_refusal_of_user(error)) throw AuthenticationError(error.what(), error.code());
        throw;
    }
}

async::Operation<> close_connection(Session& session) {
    session.check();
    amqp_connection_close_t close{200, bytes("Normal shutdown"), 0, 0};
    session.send(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
    co_await await_connection_reply(session, AMQP_CONNECTION_CLOSE_OK_METHOD);
}

}  // namespace kombu::amqp
