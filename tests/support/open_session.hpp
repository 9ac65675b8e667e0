// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/amqp_script.hpp"
#include "support/catch.hpp"

#include <kombu/error.hpp>

#include "amqp/confirm_wait.hpp"
#include "amqp/operations.hpp"
#include "amqp/session.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// A session of AMQP without a socket.
namespace script {

/// Gives the session received bytes, in pieces of this size.
inline void feed(kombu::amqp::Session& session, std::string_view data, std::size_t piece = std::string_view::npos) {
    while (!data.empty()) {
        const auto [space, size] = session.input_space();
        const std::size_t count = std::min({piece, size, data.size()});
        std::memcpy(space, data.data(), count);
        data.remove_prefix(count);
        session.input_added(count);
    }
}

/// A session that has logged in, with a channel that has publisher confirms.
struct OpenSession {
    kombu::amqp::Session session{"peer"};
    std::shared_ptr<kombu::amqp::ChannelState> channel;

    explicit OpenSession(std::size_t piece = std::string_view::npos) {
        auto login = kombu::amqp::log_in(session, {.userid = "user", .password = "s3cret", .virtual_host = "/"});
        REQUIRE_FALSE(login.resume());
        CHECK(session.output() == std::string("AMQP\0\0\x09\x01", 8));
        session.output().clear();
        feed(session, start(), piece);
        REQUIRE_FALSE(login.resume());
        CHECK(session.output().find(std::string("\0user\0s3cret", 12)) != std::string::npos);
        session.output().clear();
        feed(session, tune(), piece);
        REQUIRE_FALSE(login.resume());
        session.output().clear();
        feed(session, open_ok(), piece);
        REQUIRE(login.resume());
        login.result();
        channel = session.new_channel();
        auto opening = kombu::amqp::open_channel(session, channel, true);
        REQUIRE_FALSE(opening.resume());
        feed(session, channel_open_ok() + confirm_ok(), piece);
        REQUIRE(opening.resume());
        opening.result();
        session.output().clear();
    }

    std::uint64_t publish_message(const std::string& routing_key = "key", const std::string& body = "body",
                                  bool mandatory = true) {
        const kombu::MessageMetadata head{.exchange = "ex", .routing_key = routing_key, .mandatory = mandatory};
        return publish_message(std::make_shared<const kombu::MessageMetadata>(head), body);
    }
    std::uint64_t publish_message(std::shared_ptr<const kombu::MessageMetadata> head,
                                  const std::string& body = "body") {
        const kombu::OutgoingMessage message{std::move(head), body};
        kombu::amqp::publish(session, *channel, message);
        session.output().clear();
        return kombu::amqp::await_confirmation_of(*channel, message);
    }
    /// The refused ones of these messages, which have been confirmed.
    std::vector<std::uint64_t> refused(const std::vector<std::uint64_t>& numbers) {
        std::vector<std::exception_ptr> results(numbers.size());
        kombu::amqp::collect_outcomes(*channel, numbers, results);
        std::vector<std::uint64_t> refused;
        for (std::size_t i = 0; i < numbers.size(); ++i)
            if (results[i]) refused.push_back(numbers[i]);
        return refused;
    }
};

/// The error of a session that receives these bytes, or "accepted".
inline std::string error_of(kombu::amqp::Session& session, std::string_view data) {
    try {
        feed(session, data);
    } catch (const kombu::ConnectionError& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace script
