// SPDX-License-Identifier: BSD-3-Clause
// What kombu::metrics exports. That Prometheus understands it is in prometheus_test.py.
#include "support/catch.hpp"

#include <kombu/kombu.hpp>
#include <kombu/metrics.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

using Catch::Matchers::Contains;
using namespace std::chrono_literals;
namespace pools = kombu::pools;

namespace {

using Family = prometheus::MetricFamily;
using Labels = std::vector<std::pair<std::string, std::string>>;

std::optional<prometheus::ClientMetric> find(const std::vector<Family>& families, const std::string& name,
                                             const Labels& labels) {
    for (const Family& family : families) {
        if (family.name != name) continue;
        for (const auto& metric : family.metric) {
            const bool matches = std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
                return std::any_of(metric.label.begin(), metric.label.end(), [&](const auto& label) {
                    return label.name == wanted.first && label.value == wanted.second;
                });
            });
            if (matches) return metric;
        }
    }
    return std::nullopt;
}

double gauge(const std::vector<Family>& families, const std::string& name, const Labels& labels) {
    const auto metric = find(families, name, labels);
    REQUIRE(metric);
    return metric->gauge.value;
}
double counter(const std::vector<Family>& families, const std::string& name, const Labels& labels) {
    const auto metric = find(families, name, labels);
    REQUIRE(metric);
    return metric->counter.value;
}

}  // namespace

TEST_CASE("metrics have the state of every pool and broker", "[metrics]") {
    const kombu::Connection broker{"memory://metrics"};
    pools::connections.configure(broker, {.limit = 2});
    auto held = pools::connections[broker].acquire();
    (void)held->default_channel();
    {
        auto producer = pools::producers[broker].acquire();
        producer->publish("12345", {.routing_key = "nobody"});
    }
    const auto families = kombu::metrics::Collector{}.Collect();
    const Labels connections{{"kind", "connection"}, {"broker", "memory://metrics"}, {"pool", "connections"}};
    CHECK(gauge(families, "kombu_pool_limit", connections) == 2);
    CHECK(gauge(families, "kombu_pool_in_use", connections) == 1);
    CHECK(gauge(families, "kombu_pool_idle", connections) == 1);
    CHECK(gauge(families, "kombu_pool_broker_down", connections) == 0);
    CHECK(counter(families, "kombu_pool_acquires_total", connections) == 2);
    const auto wait = find(families, "kombu_pool_wait_seconds", connections);
    REQUIRE(wait);
    CHECK(wait->histogram.sample_count == 2);
    CHECK(wait->histogram.bucket.back().cumulative_count == 2);
    const Labels of_broker{{"broker", "memory://metrics"}};
    CHECK(counter(families, "kombu_messages_published_total", of_broker) == 1);
    CHECK(counter(families, "kombu_messages_published_bytes_total", of_broker) == 5);
    CHECK(gauge(families, "kombu_broker_connections", of_broker) == 2);
    held.release();
    pools::connections.erase(broker);
    pools::producers.erase(broker);
}

TEST_CASE("pools with equal labels are added up, since Prometheus refuses series that come twice", "[metrics]") {
    const kombu::Connection broker{"memory://twice"};
    pools::Connections first{{.limit = 3}}, second{{.limit = 4}};
    pools::register_group(first);
    pools::register_group(second);
    const auto a = first[broker].acquire(), b = second[broker].acquire();
    const auto families = kombu::metrics::Collector{}.Collect();
    const Labels labels{{"broker", "memory://twice"}, {"kind", "connection"}};
    CHECK(gauge(families, "kombu_pool_limit", labels) == 7);
    CHECK(gauge(families, "kombu_pool_in_use", labels) == 2);
    for (const Family& family : families) {
        std::vector<std::vector<prometheus::ClientMetric::Label>> seen;
        for (const auto& metric : family.metric) seen.push_back(metric.label);
        std::sort(seen.begin(), seen.end());
        CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    }
}

TEST_CASE("the number of series is bounded", "[metrics]") {
    pools::Connections group{{.limit = 1}};
    pools::register_group(group);
    std::vector<kombu::Lease<kombu::Connection>> leases;
    for (int i = 0; i < 50; ++i) {
        leases.push_back(group[kombu::Connection{"memory://bounded" + std::to_string(i)}].acquire());
        leases.back()->connect();
    }
    const auto families = kombu::metrics::Collector{{.max_series = 10}}.Collect();
    for (const Family& family : families)
        CHECK(family.metric.size() <= 11 * (family.name == "kombu_pool_closed_total" ? kombu::close_reasons : 1));
    double in_use = 0;
    for (const Family& family : families)
        if (family.name == "kombu_pool_in_use")
            for (const auto& metric : family.metric) in_use += metric.gauge.value;
    CHECK(in_use >= 50);
    CHECK(gauge(families, "kombu_pool_in_use", {{"pool", "other"}}) >= 40);
}

TEST_CASE("a series stays what it is when more come", "[metrics]") {
    pools::Connections group{{.limit = 1}};
    pools::register_group(group);
    const kombu::metrics::Collector small{{.max_series = pools::stats().size() + 1}};
    const auto first = group[kombu::Connection{"memory://zz-first"}].acquire();
    const Labels labels{{"broker", "memory://zz-first"}, {"kind", "connection"}};
    CHECK(find(small.Collect(), "kombu_pool_in_use", labels));
    const auto second = group[kombu::Connection{"memory://aa-second"}].acquire();  // sorts before it
    const auto families = small.Collect();
    CHECK(find(families, "kombu_pool_in_use", labels));
    CHECK_FALSE(find(families, "kombu_pool_in_use", {{"broker", "memory://aa-second"}}));
}

TEST_CASE("labels are UTF-8, whatever the name of a pool is", "[metrics]") {
    pools::Connections group{{.limit = 1, .name = "caf\xe9"}};
    pools::register_group(group);
    const auto lease = group[kombu::Connection{"memory://utf8"}].acquire();
    const auto families = kombu::metrics::Collector{}.Collect();
    CHECK(gauge(families, "kombu_pool_in_use", {{"pool", "caf\xef\xbf\xbd"}}) == 1);
}

TEST_CASE("no label has a password", "[metrics]") {
    const kombu::Connection broker{"amqp://user:top-secret@127.0.0.1:1/"};
    pools::Connections group{{.limit = 1}};
    pools::register_group(group);
    const auto lease = group[broker].acquire();
    CHECK_THROWS_AS(lease->connect(), kombu::ConnectionError);
    const std::string text = kombu::metrics::Collector{}.text();
    CHECK_THAT(text, Contains("kombu_pool_connect_failures_total{") && Contains("user:**@127.0.0.1:1") &&
                         !Contains("top-secret"));
    CHECK_THAT(text, Contains("kombu_pool_broker_down{"));
}
