// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "net/session_driver.hpp"
#include "net/stream.hpp"
#include "redis/subscriber_session.hpp"

#include <cstdint>
#include <string>
#include <utility>

namespace kombu::redis {

/// The second socket of a connection. It is opened when a consumer first has to wait, or to listen to a fanout
/// exchange: a socket that has subscribed to a channel cannot send other commands.
struct Subscriber {
    Subscriber(net::StreamTarget target, const Options& options)
        : stream(std::move(target)), session(stream.peer(), options) {}

    bool is_open() const noexcept { return stream.is_open() && !session.failed(); }

    net::Stream stream;
    SubscriberSession session;
    net::SessionDriver<Session> driver{stream, session};
    /// Whether it has logged in. From then on its failure is that of the connection.
    bool is_established = false;
    /// Its number, for CLIENT TRACKING; 0 if the user may not have notices.
    std::int64_t client_id = 0;
    /// Whether the server reports changed keys to it.
    bool receives_notices = false;
};

}  // namespace kombu::redis
