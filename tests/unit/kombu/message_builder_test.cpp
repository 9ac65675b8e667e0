// SPDX-License-Identifier: BSD-3-Clause
// What the builder of messages remembers of one message must not reach the next one.
#include "support/catch.hpp"

#include <kombu/kombu.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/message_builder.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

/// Options that differ from each other in one field, or in the type of one value.
std::vector<PublishOptions> various_options() {
    const Exchange topic{"topic", "topic"}, direct{"topic", "direct"},
        transient{"topic", "topic", {.delivery_mode = 1}};
    std::vector<PublishOptions> all{
        {},
        {.exchange = topic},
        {.exchange = direct},
        {.exchange = transient},
        {.routing_key = "a"},
        {.routing_key = "b"},
        {.compression = "zlib"},
        {.compression = "gzip"},
        {.compression = "zlib", .headers = {{"a", 1}}},
        {.compression = "zlib", .headers = {{"b", 1}}},
        {.compression = "zlib", .headers = {{"a", 1}, {"compression", "mine"}}},
        {.headers = {{"compression", "mine"}}},
        {.headers = {{"a", 1}}},
        {.headers = {{"a", 1.0}}},
        {.headers = {{"a", -1}}},
        {.headers = {{"a", "1"}}},
        {.headers = {{"a", 1}, {"b", 2}}},
        {.headers = Json::object()},
        {.delivery_mode = DeliveryMode::transient},
        {.priority = 3},
        {.expiration = 2s},
        {.expiration = 3s},
        {.mandatory = true},
        {.content_type = "text/x"},
        {.content_type = "text/x", .content_encoding = "latin-1"},
    };
    for (const auto field : {&PublishOptions::correlation_id, &PublishOptions::reply_to, &PublishOptions::message_id,
                             &PublishOptions::type, &PublishOptions::user_id, &PublishOptions::app_id})
        for (const char* text : {"one", "two", ""}) all.emplace_back().*field = text;
    for (const std::uint64_t seconds : {0, 1, 2}) all.emplace_back().timestamp = Timestamp{seconds};
    return all;
}

std::string describe(const MessageMetadata& metadata) {
    const Properties& p = metadata.properties;
    std::string text = metadata.exchange + '/' + metadata.exchange_type + '/' + metadata.routing_key + '/' +
                       std::to_string(metadata.mandatory) + p.headers.dump();
    for (const auto& field : {p.content_type, p.content_encoding, p.correlation_id, p.reply_to, p.expiration,
                              p.message_id, p.type, p.user_id, p.app_id})
        text += '/' + field.value_or("-");
    return text + '/' + std::to_string(p.delivery_mode.value_or(-1)) + '/' + std::to_string(p.priority.value_or(-1)) +
           '/' + (p.timestamp ? std::to_string(*p.timestamp) : "-");
}

struct Building {
    Connection connection{"memory://message-builder"};
    const ProducerOptions producer{};

    std::string build(MessageBuilder& builder, const PublishOptions& options) const {
        return describe(*message(builder, options).metadata);
    }
    const OutgoingMessage& message(MessageBuilder& builder, const PublishOptions& options) const {
        const auto& config = detail::ClientAccess::state(connection)->config();
        return builder.build(std::string_view{"body"}, {options, producer, config, Deadline::never()});
    }
};

}  // namespace

TEST_CASE("a message has the metadata of its own options, whatever was published before it", "[message]") {
    const Building building;
    const auto options = various_options();
    for (std::size_t before = 0; before < options.size(); ++before) {
        for (std::size_t i = 0; i < options.size(); ++i) {
            INFO("options " << i << " after options " << before);
            MessageBuilder builder, fresh;
            building.build(builder, options[before]);
            REQUIRE(building.build(builder, options[i]) == building.build(fresh, options[i]));
        }
    }
}

TEST_CASE("messages with the same options share their metadata", "[message]") {
    const Building building;
    const auto options = various_options();
    for (std::size_t i = 0; i < options.size(); ++i) {
        INFO("options " << i);
        if (options[i].compression && options[i].headers.contains("compression")) continue;  // checked each time
        MessageBuilder builder;
        const auto first = building.message(builder, options[i]).metadata;
        const PublishOptions same = options[i];
        REQUIRE(building.message(builder, same).metadata == first);
    }
}

TEST_CASE("options that are refused are refused whatever was published before, and change nothing", "[message]") {
    const Building building;
    const auto valid = various_options();
    const std::vector<PublishOptions> refused{
        {.headers = 5},
        {.headers = {{"a", "\xff"}}},
        {.priority = 256},
        {.expiration = -1s},
        {.content_encoding = "\xff"},
        {.message_id = "\xff"},
        {.compression = "zlib", .headers = 5},
        {.compression = "zlib", .headers = Json::array()},
        {.compression = "zlib", .headers = {{"compression", "\xff"}}},
    };
    for (const PublishOptions& before : valid) {
        MessageBuilder builder;
        const std::string expected = building.build(builder, before);
        for (std::size_t i = 0; i < refused.size(); ++i) {
            INFO("options " << i);
            CHECK_THROWS_AS(building.build(builder, refused[i]), Error);
            REQUIRE(building.build(builder, before) == expected);
        }
    }
}
