// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/metrics.hpp>
#include <kombu/pools.hpp>
#include <kombu/stats.hpp>

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>

namespace kombu::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;
/// Name, kind, broker.
using PoolKey = std::tuple<std::string, std::string, std::string>;

/// Families in the order of their first sample.
class Families {
public:
    void counter(const char* name, const char* help, const Labels& labels, std::uint64_t value) {
        ClientMetric metric;
        metric.label = labels;
        metric.counter.value = static_cast<double>(value);
        add(name, help, MetricType::Counter, std::move(metric));
    }
    void gauge(const char* name, const char* help, const Labels& labels, double value) {
        ClientMetric metric;
        metric.label = labels;
        metric.gauge.value = value;
        add(name, help, MetricType::Gauge, std::move(metric));
    }
    /// The sum of the durations is not counted: each counts as the middle of its class.
    void histogram(const char* name, const char* help, const Labels& labels, const DurationHistogram& durations) {
        // From 1 us to 137 s; every second class, since the library's double.
        constexpr std::size_t first = 10, last = 37;
        ClientMetric metric;
        metric.label = labels;
        std::uint64_t count = 0;
        double sum = 0;
        for (std::size_t i = 0; i < DurationHistogram::bucket_count; ++i) {
            const double bound = std::chrono::duration<double>(DurationHistogram::upper_bound(i)).count();
            count += durations.counts()[i];
            sum += static_cast<double>(durations.counts()[i]) * bound * 0.75;
            if (i >= first && i <= last && (i - first) % 2 == 0)
                metric.histogram.bucket.push_back({.cumulative_count = count, .upper_bound = bound});
        }
        metric.histogram.bucket.push_back({.cumulative_count = count, .upper_bound = INFINITY});
        metric.histogram.sample_count = count;
        metric.histogram.sample_sum = sum;
        add(name, help, MetricType::Histogram, std::move(metric));
    }

    std::vector<MetricFamily> take() { return std::move(families_); }

private:
    void add(const char* name, const char* help, MetricType type, ClientMetric metric) {
        auto found = std::find_if(families_.begin(), families_.end(), [&](const auto& f) { return f.name == name; });
        if (found == families_.end()) found = families_.insert(found, {name, help, type, {}});
        found->metric.push_back(std::move(metric));
    }

    std::vector<MetricFamily> families_{};
};

void add_counts(DurationHistogram& to, const DurationHistogram& from) {
    for (std::size_t i = 0; i < DurationHistogram::bucket_count; ++i) to.add_to_bucket(i, from.counts()[i]);
}

void add(PoolStats& to, const PoolStats& from) {
    for (const auto member :
         {&PoolStats::limit, &PoolStats::in_use, &PoolStats::idle, &PoolStats::connecting, &PoolStats::waiting})
        to.*member += from.*member;
    for (const auto member :
         {&PoolStats::created, &PoolStats::create_failures, &PoolStats::acquired, &PoolStats::timeouts,
          &PoolStats::leaks, &PoolStats::leaks_ended, &PoolStats::connect_attempts, &PoolStats::connect_failures,
          &PoolStats::connections_lost, &PoolStats::reconnects})
        to.*member += from.*member;
    for (std::size_t i = 0; i < close_reasons; ++i) to.closed_by[i] += from.closed_by[i];
    add_counts(to.wait, from.wait);
    add_counts(to.use, from.use);
    add_counts(to.connect, from.connect);
    to.is_down = to.is_down || from.is_down;
    if (from.oldest_lease && (!to.oldest_lease || from.oldest_lease->age > to.oldest_lease->age))
        to.oldest_lease = from.oldest_lease;
}

void add(BrokerStats& to, const BrokerStats& from) { to += from; }

/// Sums of what has equal labels; all that is not admitted is one, which `other` names. The first ones are admitted,
/// and stay so: a counter that became part of another one would jump.
template <class Key, class Stats, class KeyOf>
std::map<Key, Stats> sums_by(const std::vector<Stats>& all, std::set<Key>& admitted, std::size_t max_series,
                             const Key& other, KeyOf key_of) {
    std::map<Key, Stats> sums;
    for (const Stats& stats : all) {
        Key key = key_of(stats);
        if (!admitted.contains(key)) {
            if (admitted.size() < max_series)
                admitted.insert(key);
            else
                key = other;
        }
        add(sums[key], stats);
    }
    return sums;
}

/// What is not UTF-8 would make Prometheus refuse all metrics.
std::string valid(const std::string& text) {
    return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

/// `NAME@URL` without the URL, which is a label of its own.
std::string name_of(const PoolStats& stats) {
    const std::string suffix = '@' + stats.key;
    return !stats.key.empty() && stats.name.ends_with(suffix) ? stats.name.substr(0, stats.name.size() - suffix.size())
                                                              : stats.name;
}

void add_pool(Families& out, const Labels& labels, const PoolStats& pool) {
    const auto gauge = [&](const char* name, const char* help, auto value) {
        out.gauge(name, help, labels, static_cast<double>(value));
    };
    gauge("kombu_pool_limit", "Resources that the pool may have; 0: unlimited", pool.limit);
    gauge("kombu_pool_in_use", "Resources that are leased", pool.in_use);
    gauge("kombu_pool_idle", "Resources that wait for a lease", pool.idle);
    gauge("kombu_pool_connecting", "Resources that are being made", pool.connecting);
    gauge("kombu_pool_waiting", "Callers that wait for a resource", pool.waiting);
    gauge("kombu_pool_oldest_lease_seconds", "The age of the oldest lease; 0: there is none",
          pool.oldest_lease ? std::chrono::duration<double>(pool.oldest_lease->age).count() : 0.0);
    out.counter("kombu_pool_acquires_total", "Leases that were given", labels, pool.acquired);
    out.counter("kombu_pool_acquire_timeouts_total", "Callers that got no resource in their time", labels,
                pool.timeouts);
    out.counter("kombu_pool_created_total", "Resources made", labels, pool.created);
    out.counter("kombu_pool_create_failures_total", "Attempts to make a resource that failed", labels,
                pool.create_failures);
    for (std::size_t i = 0; i < close_reasons; ++i) {
        Labels with_reason = labels;
        with_reason.push_back({"reason", to_string(static_cast<CloseReason>(i))});
        out.counter("kombu_pool_closed_total", "Resources closed, by reason", with_reason, pool.closed_by[i]);
    }
    out.counter("kombu_pool_leaks_total", "Leases reported for exceeding the leak threshold", labels, pool.leaks);
    gauge("kombu_pool_leaked", "Leases that exceed the leak threshold now", pool.leaks - pool.leaks_ended);
    out.histogram("kombu_pool_wait_seconds", "How long acquires waited", labels, pool.wait);
    out.histogram("kombu_pool_use_seconds", "How long leases lasted", labels, pool.use);
    if (pool.connect_attempts == 0 && pool.connect.total() == 0) return;
    out.histogram("kombu_pool_connect_seconds", "How long connecting took", labels, pool.connect);
    out.counter("kombu_pool_connect_attempts_total", "Attempts to connect", labels, pool.connect_attempts);
    out.counter("kombu_pool_connect_failures_total", "Attempts to connect that failed", labels, pool.connect_failures);
    out.counter("kombu_pool_connections_lost_total", "Connections that broke", labels, pool.connections_lost);
    out.counter("kombu_pool_reconnects_total", "Connects that replaced a lost connection", labels, pool.reconnects);
    gauge("kombu_pool_broker_down", "1 while the last attempt to connect has failed", pool.is_down ? 1 : 0);
}

void add_broker(Families& out, const Labels& labels, const BrokerStats& broker) {
    out.gauge("kombu_broker_connections", "Connections to the broker, pooled or not", labels,
              static_cast<double>(broker.connections));
    const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
        out.counter(name, help, labels, value);
    };
    counter("kombu_messages_published_total", "Messages published", broker.published);
    counter("kombu_messages_published_bytes_total", "Bytes of the bodies published", broker.published_bytes);
    counter("kombu_messages_confirmed_total", "Messages that the broker has confirmed", broker.confirmed);
    counter("kombu_messages_refused_total", "Messages that the broker has refused", broker.refused);
    counter("kombu_messages_returned_total", "Messages that reached no queue", broker.returned);
    counter("kombu_messages_failed_total", "Publishes that ended with the connection", broker.failed);
    counter("kombu_messages_received_total", "Messages received", broker.received);
    counter("kombu_messages_received_bytes_total", "Bytes of the bodies received", broker.received_bytes);
    counter("kombu_messages_redelivered_total", "Messages received again", broker.redelivered);
    counter("kombu_messages_acknowledged_total", "Messages acknowledged", broker.acknowledged);
    counter("kombu_messages_rejected_total", "Messages rejected", broker.rejected);
    counter("kombu_messages_requeued_total", "Messages put back by the program", broker.requeued);
}

}  // namespace

struct Collector::Admitted {
    std::mutex mutex{};
    std::set<PoolKey> pools{};
    std::set<std::string> brokers{};
};

Collector::Collector(CollectorOptions options) : options_(options), admitted_(std::make_unique<Admitted>()) {}
Collector::~Collector() = default;

std::vector<MetricFamily> Collector::Collect() const {
    Families out;
    const std::lock_guard lock{admitted_->mutex};
    const auto pool_sums = sums_by(pools::stats(), admitted_->pools, options_.max_series,
                                   PoolKey{"other", "other", "other"}, [](const PoolStats& stats) {
                                       return PoolKey{valid(name_of(stats)), valid(stats.kind), valid(stats.key)};
                                   });
    for (const auto& [key, stats] : pool_sums)
        add_pool(out, {{"pool", std::get<0>(key)}, {"kind", std::get<1>(key)}, {"broker", std::get<2>(key)}}, stats);
    const auto broker_sums = sums_by(broker_stats(), admitted_->brokers, options_.max_series, std::string{"other"},
                                     [](const BrokerStats& stats) { return valid(stats.broker); });
    for (const auto& [key, stats] : broker_sums) add_broker(out, {{"broker", key}}, stats);
    return out.take();
}

std::string Collector::text() const { return prometheus::TextSerializer{}.Serialize(Collect()); }

}  // namespace kombu::metrics
