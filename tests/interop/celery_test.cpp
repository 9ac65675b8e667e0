// SPDX-License-Identifier: BSD-3-Clause
// Tasks sent by C++ to a live Celery worker, whose results come back as messages. Runs against RabbitMQ and Redis.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/python_peer.hpp"

#include <kombu/celery.hpp>

#include <map>
#include <set>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A worker, its queue, and a queue for results.
struct Celery {
    const std::string tasks = unique("celery.tasks"), results = unique("celery.results");
    Connection connection{broker_url()};
    Producer producer{connection};
    PythonPeer worker{{KOMBU_TEST_CELERY, broker_url(), tasks}};
    SimpleQueue replies = connection.simple_queue(results, {.no_ack = true});

    ~Celery() {
        worker.kill();
        Connection cleaner{broker_url()};
        auto channel = cleaner.channel();
        for (const std::string& name : {tasks, results}) {
            channel.queue_delete(name);
            channel.exchange_delete(name);
        }
    }
    celery::TaskOptions options() const { return {.queue = tasks, .reply_to = results}; }
    /// Waits for the result of a task, and stores the results of others.
    Json result(const std::string& id) {
        for (const Deadline end = Deadline::after(30s); !end.expired();) {
            if (const auto found = received_results.find(id); found != received_results.end()) return found->second;
            const Message message = replies.get({.timeout = 30s});
            received_results[message.payload().at("task_id")] = message.payload();
            CHECK(message.properties().correlation_id == message.payload().at("task_id").get<std::string>());
        }
        FAIL("no result");
        return {};
    }
    std::map<std::string, Json> received_results{};
};

}  // namespace

TEST_CASE_METHOD(Celery, "a Celery worker computes the results of tasks sent by C++", "[celery][interop]") {
    const std::string sum = celery::send_task(producer, "tasks.add", {2, 3}, {{"text", "ü"}}, options());
    CHECK(sum.size() == 36);
    const Json answer = result(sum);
    CHECK(answer["status"] == "SUCCESS");
    CHECK(answer["result"] == Json{5, "ü"});

    auto named = options();
    named.task_id = unique("my.task");
    CHECK(celery::send_task(producer, "tasks.add", {40}, {{"y", 2}}, named) == *named.task_id);
    CHECK(result(*named.task_id)["result"][0] == 42);

    auto compressed = options();
    compressed.compression = "zlib";
    CHECK(result(celery::send_task(producer, "tasks.add", {1}, Json::object(), compressed))["status"] == "SUCCESS");

    CHECK(result(celery::send_task(producer, "tasks.fails", Json::array(), Json::object(), options()))["status"] ==
          "FAILURE");
    // Celery answers the tasks that it refuses, and the worker stays alive.
    CHECK_THAT(result(celery::send_task(producer, "no.such.task", {1}, Json::object(), options()))["result"].dump(),
               Contains("NotRegistered"));
    CHECK(result(celery::send_task(producer, "tasks.add", {1, 2, "x", 4}, {{"z", 1}}, options()))["status"] ==
          "FAILURE");
    CHECK(result(celery::send_task(producer, "tasks.add", Json::array({Json{{"a", 1}}}), Json::object(),
                                   options()))["status"] == "FAILURE");
    CHECK(result(celery::send_task(producer, "tasks.add", {1, 2}, Json::object(), options()))["result"][0] == 3);
}

TEST_CASE_METHOD(Celery, "a worker obeys eta, countdown and expires", "[celery][interop]") {
    const auto now = std::chrono::system_clock::now();
    auto later = options(), counted = options(), expired = options(), in_time = options();
    later.eta = now + 1s;
    counted.countdown = 0.5s;
    expired.expires = now - 10s;
    in_time.expires = 60s;
    const std::string third = celery::send_task(producer, "tasks.add", {3}, Json::object(), later);
    const std::string second = celery::send_task(producer, "tasks.add", {2}, Json::object(), counted);
    const std::string dead = celery::send_task(producer, "tasks.add", {0}, Json::object(), expired);
    const std::string first = celery::send_task(producer, "tasks.add", {1}, Json::object(), in_time);
    CHECK(result(first)["result"][0] == 1);
    CHECK_FALSE(received_results.contains(second));
    CHECK_FALSE(received_results.contains(third));
    CHECK(result(second)["result"][0] == 2);
    CHECK(std::chrono::system_clock::now() - now >= 500ms);
    CHECK(result(third)["result"][0] == 3);
    CHECK(std::chrono::system_clock::now() - now >= 1s);
    CHECK(result(dead)["status"] == "REVOKED");
}

TEST_CASE_METHOD(Celery, "a worker sees the options of a task", "[celery][interop]") {
    auto all = options();
    all.task_id = unique("task");
    all.expires = std::chrono::system_clock::from_time_t(4'000'000'000);
    all.time_limit = 20s;
    all.soft_time_limit = 10s;
    all.parent_id = "parent";
    all.root_id = "root";
    all.group_id = "group";
    all.shadow = "shadow";
    all.headers = {{"mine", {1, "x"}}};
    celery::send_task(producer, "tasks.request", Json::array(), Json::object(), all);
    const Json request = result(*all.task_id)["result"];
    CHECK(request["id"] == *all.task_id);
    CHECK(request["correlation_id"] == *all.task_id);
    CHECK(request["root_id"] == "root");
    CHECK(request["parent_id"] == "parent");
    CHECK(request["group"] == "group");
    CHECK(request["expires"] == "2096-10-02T07:06:40.000000+00:00");
    CHECK(request["timelimit"] == Json{20, 10});
    CHECK(request["reply_to"] == results);
    CHECK(request["retries"] == 0);
    CHECK(request["lang"] == "cpp");
    CHECK(request["shadow"] == "shadow");
    CHECK(request["argsrepr"] == "[]");
    CHECK(request["kwargsrepr"] == "{}");
    CHECK(request["ignore_result"] == false);
    CHECK_THAT(request["origin"].get<std::string>(), Contains("gen") && Contains("@"));
}

TEST_CASE_METHOD(Celery, "a task that would kill a worker cannot be sent", "[celery][interop][errors]") {
    const Json none = Json::array(), nothing = Json::object();
    const auto refused = [&](const std::string& name, const Json& args, const Json& kwargs, const auto& change) {
        auto changed = options();
        change(changed);
        try {
            celery::send_task(producer, name, args, kwargs, changed);
        } catch (const ConfigurationError&) {
            return true;
        } catch (const EncodeError&) {
            return true;
        }
        return false;
    };
    const auto as_is = [](celery::TaskOptions&) {};
    CHECK(refused("", none, nothing, as_is));
    CHECK(refused("\xff", none, nothing, as_is));
    CHECK(refused("t", nothing, nothing, as_is));
    CHECK(refused("t", nullptr, nothing, as_is));
    CHECK(refused("t", none, none, as_is));
    CHECK(refused("t", none, nullptr, as_is));
    CHECK(refused("t", {"\xff"}, nothing, as_is));
    CHECK(refused("t", {std::numeric_limits<double>::quiet_NaN()}, nothing, as_is));
    using Options = celery::TaskOptions;
    CHECK(refused("t", none, nothing, [](Options& o) { o.task_id = ""; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.task_id = std::string(256, 'x'); }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.root_id = "\xff"; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.queue = ""; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.eta = std::chrono::system_clock::now(), o.countdown = 1s; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.countdown = std::chrono::hours{24 * 366 * 300}; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.countdown = std::chrono::duration<double>{std::nan("")}; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.time_limit = 0s; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.headers = Json::array(); }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.headers = {{"\xff", 1}}; }));
    CHECK(refused("t", none, nothing, [](Options& o) { o.priority = -1; }));
    for (const char* name : {"task", "id", "compression", "stamped_headers", "stamps", "timelimit", "retries"})
        CHECK(refused("t", none, nothing, [&](Options& o) { o.headers = {{name, 5}}; }));
    // A serializer registered as "json" is not used for tasks.
    register_serializer({"json", "application/x-mine", "utf-8", [](const Json&) { return std::string{"mine"}; },
                         [](std::string_view) { return Json("mine"); }});
    const std::string id = celery::send_task(producer, "tasks.add", {1, 2}, nothing, options());
    register_serializer({"json", "application/json", "utf-8", [](const Json& body) { return body.dump(); },
                         [](std::string_view text) { return Json::parse(text); }});
    CHECK(result(id)["result"][0] == 3);
}

TEST_CASE("a task from a pooled producer goes to a queue that is declared, or must exist", "[celery]") {
    const std::string name = unique("celery");
    const Connection broker{broker_url()};
    pools::Connections connections{{.limit = 1}};
    pools::Producers producers{{.limit = 1, .connections = &connections}};
    {
        const auto producer = producers[broker].acquire();
        CHECK_FALSE(celery::send_task(producer, "t", {1}, {{"k", 2}}, {.queue = name}).empty());
    }
    auto connection = connections[broker].acquire();
    auto queue = connection->simple_queue(Queue{name, Exchange{name}, name});
    Message message = queue.get({.timeout = 10s});
    CHECK(message.payload()[0] == Json{1});
    CHECK(message.payload()[1] == Json{{"k", 2}});
    CHECK(message.payload().size() == 3);
    CHECK(message.content_type() == "application/json");
    CHECK(message.content_encoding() == "utf-8");
    CHECK(message.headers()["id"] == *message.properties().correlation_id);
    CHECK(message.headers()["root_id"] == message.headers()["id"]);
    CHECK(message.properties().reply_to == "");
    CHECK(message.delivery_info().exchange.empty());
    message.ack();
    connection->default_channel().queue_delete(name);
    connection->default_channel().exchange_delete(name);
    if (!on_redis()) {  // on Redis a queue exists as soon as a message is in it
        connection.release();
        const auto producer = producers[broker].acquire();
        CHECK_THROWS_AS(celery::send_task(producer, "t", {1}, Json::object(), {.queue = name, .declare = false}),
                        Unroutable);
    }
}
