// SPDX-License-Identifier: BSD-3-Clause
// Acknowledging, rejecting and requeueing, the same on every broker. Runs against memory, RabbitMQ and Redis.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"

#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE_METHOD(Messaging, "M19 a message is settled once", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, to_queue());
    auto from = queue();
    Message first = from.get(soon);
    first.ack();
    CHECK(first.acknowledged());
    CHECK_THROWS_WITH(first.ack(), Contains("acknowledged"));
    CHECK_THROWS_AS(first.reject(), MessageStateError);
    CHECK_THROWS_AS(first.requeue(), MessageStateError);
    Message second = from.get(soon);
    second.reject();
    CHECK_THROWS_AS(second.ack(), MessageStateError);
    Message third = from.get(soon);
    third.requeue();
    CHECK_THROWS_AS(third.ack(), MessageStateError);
    CHECK(from.get(soon).payload() == 2);
}

TEST_CASE_METHOD(Messaging, "a requeued message is redelivered, marked so, at its old position", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, to_queue());
    auto from = queue({.no_ack = false});
    Message first = from.get(soon);
    first.requeue();
    Message again = from.get(soon);
    CHECK(again.payload() == 0);
    CHECK(again.redelivered());
    again.ack();
    CHECK_FALSE(from.get(soon).redelivered());
}

TEST_CASE_METHOD(Messaging, "Q11 unsettled messages are requeued when their channel closes", "[settle]") {
    for (int i = 0; i < 3; ++i) producer.publish(i, to_queue());
    auto channel = connection.channel();
    auto first = channel.basic_get(topology.queue.name());
    auto second = channel.basic_get(topology.queue.name());
    REQUIRE((first && second));
    channel.close();
    CHECK_THROWS_AS(first->ack(), ChannelError);
    auto from = queue({.no_ack = true});
    for (int i = 0; i < 3; ++i) {
        const Message message = from.get(soon);
        CHECK(message.payload() == i);
        CHECK(message.redelivered() == (i < 2));
    }
}

TEST_CASE_METHOD(Messaging, "unsettled messages are requeued when their connection closes", "[settle]") {
    producer.publish(1, to_queue());
    {
        Connection other{broker_url()};
        Message lost = other.simple_queue(topology.queue).get(soon);
        other.release();
        CHECK_THROWS_AS(lost.ack(), Error);
    }
    CHECK(queue().get(soon).redelivered());
}

TEST_CASE_METHOD(Messaging, "a message whose body cannot be decoded can be settled", "[settle][errors]") {
    auto options = to_queue();
    options.content_type = "application/json";
    producer.publish("{not json", options);
    options.headers = {{"compression", "application/x-gzip"}};
    producer.publish("not zlib", options);
    options.headers = {{"compression", "application/x-unheard-of"}};
    producer.publish("x", options);
    options.headers = Json::object();
    options.content_type = "application/x-python-serialize";
    producer.publish("x", options);
    auto from = queue();
    for (int i = 0; i < 4; ++i) {
        Message message = from.get(soon);
        CHECK_THROWS_AS(message.payload(), Error);
        CHECK_NOTHROW(message.reject());
    }
    CHECK(from.qsize() == 0);
}

TEST_CASE_METHOD(Messaging, "a moved-from message throws", "[message]") {
    producer.publish(1, to_queue());
    Message message = queue().get(soon);
    Message other = std::move(message);
    CHECK_THROWS_AS(message.payload(), MessageStateError);
    CHECK_THROWS_AS(message.ack(), MessageStateError);
    CHECK_THROWS_AS(message.acknowledged(), MessageStateError);
    CHECK_NOTHROW(other.ack());
}
