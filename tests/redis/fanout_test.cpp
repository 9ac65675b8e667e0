// SPDX-License-Identifier: BSD-3-Clause
// Fanout exchanges on Redis: messages are published to a channel, and only subscribed queues receive them.
#include "redis/redis_fixture.hpp"

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

struct Fanout : Prefixed {
    const Exchange exchange{"fan", "fanout"};
    Queue queue(const std::string& name, const std::string& key = "") const { return {name, exchange, key}; }
};

}  // namespace

TEST_CASE_METHOD(Fanout, "Q3 each subscribed queue gets a copy, and nothing is stored", "[redis][fanout]") {
    Connection one = connection(), other = connection(), publisher = connection();
    auto first = one.simple_queue(queue("q1"));
    auto second = other.simple_queue(queue("q2"));
    auto third = one.simple_queue(queue("q3"));
    CHECK((*this)({"SMEMBERS", "_kombu.binding.fan"}).size() == 3);
    CHECK((*this)({"SISMEMBER", "_kombu.binding.fan", separator + separator + "q1"}) == 1);
    Producer producer{publisher};
    for (int i = 0; i < 3; ++i) producer.publish(i, {.exchange = exchange});
    producer.publish(3, {.exchange = exchange, .routing_key = "key"});  // a queue bound without a key receives it too
    for (auto* from : {&first, &second, &third}) {
        for (int i = 0; i < 4; ++i) {
            Message message = from->get(soon);
            CHECK(message.payload() == i);
            CHECK(message.delivery_info().exchange == "fan");
            message.ack();
        }
        CHECK_THROWS_AS(from->get({.block = false}), Empty);
    }
    CHECK(unacked_count() == 0);
    CHECK(length("q1") == 0);
}

TEST_CASE_METHOD(Fanout, "a binding key filters messages, with # as a wildcard", "[redis][fanout]") {
    Connection consumer = connection(), publisher = connection();
    auto from = consumer.simple_queue(queue("q", "worker.#"));
    Producer producer{publisher};
    producer.publish(1, {.exchange = exchange, .routing_key = "task.sent"});
    producer.publish(2, {.exchange = exchange, .routing_key = "worker.heartbeat.x"});
    CHECK(from.get(soon).payload() == 2);
    CHECK_THROWS_AS(from.get({.timeout = 20ms}), Empty);
}

TEST_CASE_METHOD(Fanout, "the channels are those of Kombu", "[redis][fanout][options]") {
    RawRedis listener{redis_port()};
    const auto heard = [&](const Json& options, const std::string& channel) {
        Connection publisher = connection(options);
        listener({"PSUBSCRIBE", prefix + "*"});
        Producer{publisher}.publish(1, {.exchange = exchange, .routing_key = "rk", .declare = {exchange}});
        const Json push = listener({"PUNSUBSCRIBE"});
        return push.at(0) == "pmessage" && push.at(2) == channel;
    };
    CHECK(heard(Json::object(), prefix + "/0.fan/rk"));
    RawRedis again{redis_port()};
    const auto channel_of = [&](const Json& options) {
        Connection consumer = connection(options);
        auto from = consumer.simple_queue(queue("q"));
        Json channels = again({"PUBSUB", "NUMPAT"});
        Producer{consumer}.publish(
            1, {.exchange = exchange, .routing_key = "rk", .declare = {exchange}, .mandatory = true});
        return from.get(soon).payload() == 1;
    };
    CHECK(channel_of({{"fanout_prefix", false}}));
    CHECK(channel_of({{"fanout_prefix", "mine."}}));
    CHECK(channel_of({{"fanout_patterns", false}}));
}

TEST_CASE_METHOD(Fanout, "publisher and consumer must have the same fanout_prefix", "[redis][fanout][options]") {
    Connection consumer = connection(), publisher = connection({{"fanout_prefix", "other."}});
    auto from = consumer.simple_queue(queue("q"));
    CHECK_THROWS_AS(Producer{publisher}.publish(1, {.exchange = exchange, .declare = {exchange}, .mandatory = true}),
                    Unroutable);
    CHECK_THROWS_AS(from.get({.timeout = 20ms}), Empty);
}

TEST_CASE_METHOD(Fanout, "a message without subscribers is dropped, or Unroutable when it is mandatory",
                 "[redis][fanout]") {
    Connection publisher = connection();
    Producer producer{publisher};
    CHECK_NOTHROW(producer.publish(1, {.exchange = exchange, .declare = {exchange}}));
    CHECK_THROWS_AS(producer.publish(1, {.exchange = exchange, .mandatory = true}), Unroutable);
    Batch batch = producer.batch();
    batch.publish(1, {.exchange = exchange, .mandatory = true});
    batch.publish(2, {.exchange = exchange});
    CHECK_THROWS_AS(batch.commit(5s), BatchError);
    CHECK(batch.size() == 1);
}

TEST_CASE_METHOD(Fanout, "R8 requeued messages are redelivered, and a lease ends its subscriptions",
                 "[redis][fanout]") {
    pools::Connections connections{{.limit = 1}};
    const Connection broker = connection();
    Connection publisher = connection();
    Producer producer{publisher};
    {
        auto lease = connections[broker].acquire();
        auto from = lease->simple_queue(queue("q"));
        producer.publish(1, {.exchange = exchange, .declare = {exchange}, .mandatory = true});
        Message message = from.get(soon);
        message.requeue();
        Message again = from.get(soon);
        CHECK(again.payload() == 1);
        CHECK(again.redelivered());
    }
    auto lease = connections[broker].acquire();
    lease->default_channel();
    lease->simple_queue("other").put(1);
    CHECK_THROWS_AS(producer.publish(2, {.exchange = exchange, .mandatory = true}), Unroutable);
}

TEST_CASE_METHOD(Fanout, "wildcards in names are matched literally", "[redis][fanout]") {
    const Exchange strange{"a*b[c]?", "fanout"}, like{"axxb[c]?", "fanout"};
    Connection consumer = connection(), publisher = connection();
    auto from = consumer.simple_queue(Queue{"q", strange});
    Producer producer{publisher};
    CHECK_THROWS_AS(producer.publish(1, {.exchange = like, .declare = {like}, .mandatory = true}), Unroutable);
    producer.publish(2, {.exchange = strange, .declare = {strange}, .mandatory = true});
    CHECK(from.get(soon).payload() == 2);
}

TEST_CASE_METHOD(Fanout, "a queue of a fanout exchange also gets messages sent to it directly", "[redis][fanout]") {
    Connection consumer = connection(), publisher = connection();
    auto from = consumer.simple_queue(queue("q"));
    Producer producer{publisher};
    producer.publish(1, {.routing_key = "q"});
    Message message = from.get(soon);
    CHECK(unacked_count() == 1);
    message.requeue();
    CHECK(unacked_count() == 0);
    CHECK(length("q") == 1);
    Message again = from.get(soon);
    CHECK(again.redelivered());
    consumer.release();
    CHECK(unacked_count() == 0);
    CHECK(length("q") == 1);
}
