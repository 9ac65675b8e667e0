// SPDX-License-Identifier: BSD-3-Clause
// The rpc backend of Celery when its queue goes away.
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/messaging_fixture.hpp"
#include "support/rabbitmq_node.hpp"

#include <kombu/celery_result.hpp>

using namespace kombu;
using namespace std::chrono_literals;

TEST_CASE("the queue of an rpc backend is made again when it, or its connection, has gone", "[rabbitmq][celery]") {
    const auto backend = celery::ResultBackend::rpc(Connection{broker_url()});
    const std::string queue = *backend.reply_to();
    auto result = backend.result("task");
    CHECK_THROWS_AS(result.get(10ms), celery::ResultTimeout);
    SECTION("the queue") {
        in_broker("{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"tests\">>, queue, <<\"" + queue +
                  "\">>)), {ok, _} = rabbit_amqqueue:delete(Q, false, false, <<\"operator\">>)");
    }
    SECTION("the connection") { close_connections(); }
    Connection connection{broker_url()};
    Producer producer{connection};
    const auto is_awaited = [&] {
        try {
            result.get(50ms);
        } catch (const celery::ResultTimeout&) {
            return true;
        } catch (const ConnectionError&) {
        }
        return false;
    };
    const auto is_sent = [&] {
        try {
            producer.publish({{"status", "SUCCESS"}, {"result", 7}},
                             {.routing_key = queue, .mandatory = true, .correlation_id = "task"});
        } catch (const Unroutable&) {
            return false;
        }
        return true;
    };
    CHECK(eventually([&] { return is_awaited() && is_sent(); }));
    CHECK(result.get(10s) == 7);
}
