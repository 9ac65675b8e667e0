// SPDX-License-Identifier: BSD-3-Clause
// Frames of a broker, fed to a session with a channel that consumes and publishes with confirms.
#include <kombu/error.hpp>

#include "amqp/session.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <cstring>

void fuzz(std::string_view input) {
    using namespace kombu;
    const std::size_t piece = 1 + take_byte(input);
    amqp::Session session{"peer"};
    session.apply_tune(2047, 131072, std::chrono::seconds{0});
    const auto channel = session.new_channel();
    channel->phase = amqp::ChannelState::Phase::open;
    channel->consumers.insert("c");
    channel->has_confirms = true;
    channel->max_deliveries = 16;
    try {
        while (!input.empty()) {
            const auto [space, size] = session.input_space();
            const std::size_t count = std::min({piece, size, input.size()});
            std::memcpy(space, input.data(), count);
            input.remove_prefix(count);
            session.input_added(count);
        }
    } catch (const ConnectionError&) {
    }
    require(channel->deliveries.size() <= channel->max_deliveries, "no more deliveries than were asked for");
}
