// SPDX-License-Identifier: BSD-3-Clause
// Workflows of tasks, and results from the backends of a live Celery worker. Runs against RabbitMQ and Redis.
#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/python_peer.hpp"

#include <kombu/asio.hpp>
#include <kombu/celery.hpp>
#include <kombu/celery_result.hpp>

#include <boost/asio/use_future.hpp>

#include <string>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using celery::AsyncResult;
using celery::Signature;

namespace {

/// A worker, its queue, and the backend of its results.
struct Workflow {
    const std::string tasks = unique("celery.tasks");
    Connection connection{broker_url()};
    Producer producer{connection};
    PythonPeer worker;
    celery::ResultBackend results;

    explicit Workflow(const std::string& backend = "rpc://")
        : worker({KOMBU_TEST_CELERY, broker_url(), tasks, backend}),
          results(backend == "rpc://" ? celery::ResultBackend::rpc(connection)
                                      : celery::ResultBackend::redis(Connection{backend})) {}
    ~Workflow() {
        worker.kill();
        Connection cleaner{broker_url()};
        cleaner.channel().queue_delete(tasks);
        cleaner.channel().exchange_delete(tasks);
    }
    celery::TaskOptions options() const { return {.queue = tasks, .reply_to = results.reply_to()}; }
    Signature add(const Json& args) const { return {.task = "tasks.add", .args = args, .queue = tasks}; }
    std::string send(const std::string& name, const Json& args, const celery::TaskOptions& with) {
        return celery::send_task(producer, name, args, Json::object(), with);
    }
    AsyncResult call(const std::string& name, const Json& args = Json::array()) {
        return results.result(send(name, args, options()));
    }
};

void check_results(Workflow& workflow) {
    AsyncResult sum = workflow.call("tasks.add", {2, 3});
    CHECK(sum.get(30s)[0] == 5);
    CHECK(sum.get()[0] == 5);
    CHECK(sum.state() == "SUCCESS");
    CHECK(sum.successful());
    CHECK(sum.traceback().empty());

    AsyncResult failing = workflow.call("tasks.fails");
    try {
        failing.get(30s);
        FAIL("no error");
    } catch (const celery::TaskFailure& failure) {
        CHECK(failure.task_id() == failing.id());
        CHECK(failure.state() == "FAILURE");
        CHECK(failure.type() == "ValueError");
        CHECK_THAT(failure.what(), Contains("ValueError: as asked"));
        CHECK_THAT(failure.traceback(), Contains("Traceback") && Contains("as asked"));
    }
    CHECK(failing.failed());
    CHECK_THAT(failing.traceback(), Contains("as asked"));

    auto expired = workflow.options();
    expired.expires = std::chrono::system_clock::now() - 10s;
    AsyncResult revoked = workflow.results.result(workflow.send("tasks.add", {1}, expired));
    CHECK_THROWS_AS(revoked.get(30s), celery::TaskFailure);
    CHECK(revoked.state() == "REVOKED");

    AsyncResult unknown = workflow.results.result("no-such-task");
    CHECK(unknown.state() == "PENDING");
    CHECK_FALSE(unknown.ready());
    const auto begin = Clock::now();
    CHECK_THROWS_AS(unknown.get(50ms), celery::ResultTimeout);
    CHECK(Clock::now() - begin >= 50ms);

    // A task that ends while somebody waits for it, and one with a state in between.
    auto later = workflow.options();
    later.countdown = 0.3s;
    CHECK(workflow.results.result(workflow.send("tasks.add", {4, 4}, later)).get(30s)[0] == 8);
    CHECK(workflow.call("tasks.progress").get(30s) == "done");

    AsyncResult asynchronous = workflow.call("tasks.add", {20, 1});
    CHECK(asynchronous.async_get(30s, boost::asio::use_future).get()[0] == 21);
    CHECK_THROWS_AS(unknown.async_get(20ms, boost::asio::use_future).get(), celery::ResultTimeout);

    AsyncResult again = workflow.results.result(sum.id());
    sum.forget();
    CHECK(again.state() == "PENDING");
}

}  // namespace

TEST_CASE("results come from the rpc backend of a worker", "[celery][interop]") {
    Workflow workflow;
    CHECK(workflow.results.reply_to().has_value());
    check_results(workflow);
}

TEST_CASE("results come from the Redis backend of a worker", "[celery][interop]") {
    if (!on_redis()) {
        CHECK_THROWS_AS(celery::ResultBackend::redis(Connection{broker_url()}), ConfigurationError);
        return;
    }
    Workflow workflow{broker_url()};
    CHECK_FALSE(workflow.results.reply_to());
    check_results(workflow);
}

TEST_CASE_METHOD(Workflow, "linked tasks get the result, or the id of the task that has failed", "[celery][interop]") {
    auto linked = options();
    Signature first = add({10}), second = add({100});
    first.task_id = unique("first");
    second.task_id = unique("second");
    second.args = {1, 2};
    second.immutable = true;
    first.link = {add({1000})};
    first.link[0].task_id = unique("nested");
    linked.link = {first, second};
    send("tasks.add", {1, 1}, {linked});
    CHECK(results.result(*second.task_id).get(30s)[0] == 3);
    // The result of tasks.add is a list: its sum with a number fails, and the failure says where.
    CHECK_THROWS_AS(results.result(*first.task_id).get(30s), celery::TaskFailure);

    auto guarded = options();
    Signature on_error{.task = "tasks.failed", .queue = tasks, .task_id = unique("failed")};
    guarded.link_error = {on_error};
    const std::string id = send("tasks.fails", Json::array(), guarded);
    CHECK(results.result(*on_error.task_id).get(30s) == "failed: " + id);
}

TEST_CASE_METHOD(Workflow, "the tasks of a chain follow each other, each with the result before", "[celery][interop]") {
    const Signature echo{.task = "tasks.failed", .queue = tasks};
    std::vector<Signature> chain{{.task = "tasks.failed", .args = {"a"}}, echo, echo, {.task = "tasks.failed"}};
    const celery::SentTasks sent = celery::send_chain(producer, chain, options());
    REQUIRE(sent.task_ids.size() == 4);
    CHECK(sent.id == sent.task_ids[3]);
    CHECK(results.result(sent.id).get(30s) == "failed: failed: failed: failed: a");
    CHECK(results.result(sent.task_ids[1]).get(30s) == "failed: failed: a");

    // A failure is that of every task that follows.
    chain.insert(chain.begin(), Signature{.task = "tasks.fails"});
    const celery::SentTasks failed = celery::send_chain(producer, chain, options());
    CHECK_THROWS_AS(results.result(failed.id).get(30s), celery::TaskFailure);
}

TEST_CASE_METHOD(Workflow, "the tasks of a group have its id and their place", "[celery][interop]") {
    std::vector<Signature> group;
    for (int n = 0; n < 3; ++n) group.push_back(add({n, n}));
    group.push_back({.task = "tasks.request"});
    const celery::SentTasks sent = celery::send_group(producer, group, options());
    REQUIRE(sent.task_ids.size() == 4);
    for (int n = 0; n < 3; ++n) CHECK(results.result(sent.task_ids[static_cast<std::size_t>(n)]).get(30s)[0] == 2 * n);
    CHECK(results.result(sent.task_ids[3]).get(30s)["group"] == sent.id);
}

TEST_CASE_METHOD(Workflow, "a task reaches its queue through any exchange, and says how often it was tried",
                 "[celery][interop]") {
    const Exchange topics{unique("celery.topics"), "topic"};
    auto channel = connection.channel();
    channel.declare(Queue{tasks, Exchange{tasks}, tasks, {.bindings = {{topics, "jobs.#"}}}});
    auto routed = options();
    routed.exchange = topics;
    routed.routing_key = "jobs.now";
    routed.retries = 2;
    CHECK(results.result(send("tasks.request", Json::array(), routed)).get(30s)["retries"] == 2);
    routed.routing_key = "elsewhere";
    CHECK_THROWS_AS(send("tasks.request", Json::array(), routed), Unroutable);
    connection.channel().exchange_delete(topics.name());
}

TEST_CASE("workflows that would end a worker cannot be sent", "[celery][errors]") {
    Connection connection{broker_url()};
    Producer producer{connection};
    const auto refused = [&](const celery::TaskOptions& options) {
        try {
            celery::send_task(producer, "t", Json::array(), Json::object(), options);
        } catch (const ConfigurationError&) {
            return true;
        } catch (const EncodeError&) {
            return true;
        }
        return false;
    };
    CHECK(refused({.link = {{}}}));
    CHECK(refused({.link = {{.task = "t", .args = Json::object()}}}));
    CHECK(refused({.link_error = {{.task = "t", .kwargs = Json::array()}}}));
    CHECK(refused({.chain = {{.task = "t", .args = {"\xff"}}}}));
    CHECK(refused({.chain = {{.task = "t", .task_id = ""}}}));
    CHECK(refused({.chain = {{.task = "t", .priority = 256}}}));
    CHECK(refused({.chain = {{.task = "t", .countdown = -1s}}}));
    CHECK(refused({.chain = {{.task = "t", .countdown = std::chrono::duration<double>{1e12}}}}));
    CHECK(refused({.routing_key = "k"}));
    Signature deep{.task = "t"};
    for (int i = 0; i < 60; ++i) deep = Signature{.task = "t", .link = {deep}};
    CHECK(refused({.link = {deep}}));
    CHECK_THROWS_AS(celery::send_chain(producer, {}), ConfigurationError);
    CHECK_THROWS_AS(celery::send_group(producer, {}), ConfigurationError);
    CHECK_THROWS_AS(celery::send_group(producer, {{.task = "t"}}, {.task_id = "x"}), ConfigurationError);
}
