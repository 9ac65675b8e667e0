// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/stats.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>

namespace kombu {
namespace {

double seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

Json quantiles(const DurationHistogram& histogram) {
    return {{"count", histogram.total()},
            {"p50", seconds(histogram.quantile(0.5))},
            {"p90", seconds(histogram.quantile(0.9))},
            {"p99", seconds(histogram.quantile(0.99))},
            {"max", seconds(histogram.quantile(1))}};
}

constexpr const char* close_reason_names[] = {"discarded", "dead",  "unprepared",  "idle_timeout", "max_lifetime",
                                              "surplus",   "reset", "pool_closed", "evicted"};
static_assert(std::size(close_reason_names) == close_reasons);

}  // namespace

const char* to_string(CloseReason reason) noexcept { return close_reason_names[static_cast<std::size_t>(reason)]; }

BrokerStats& BrokerStats::operator+=(const BrokerStats& other) noexcept {
    connections += other.connections;
    for (const auto member :
         {&BrokerStats::published, &BrokerStats::published_bytes, &BrokerStats::confirmed, &BrokerStats::refused,
          &BrokerStats::returned, &BrokerStats::failed, &BrokerStats::received, &BrokerStats::received_bytes,
          &BrokerStats::redelivered, &BrokerStats::acknowledged, &BrokerStats::rejected, &BrokerStats::requeued})
        this->*member += other.*member;
    return *this;
}

void to_json(Json& json, const PoolStats& stats) {
    Json closed_by = Json::object();
    for (std::size_t i = 0; i < close_reasons; ++i) closed_by[close_reason_names[i]] = stats.closed_by[i];
    json = {{"name", stats.name},
            {"kind", stats.kind},
            {"key", stats.key},
            {"limit", stats.limit},
            {"in_use", stats.in_use},
            {"idle", stats.idle},
            {"connecting", stats.connecting},
            {"closing", stats.closing},
            {"waiting", stats.waiting},
            {"created", stats.created},
            {"closed", stats.closed},
            {"closed_by", std::move(closed_by)},
            {"create_failures", stats.create_failures},
            {"acquired", stats.acquired},
            {"timeouts", stats.timeouts},
            {"discarded", stats.discarded},
            {"leaks", stats.leaks},
            {"leaks_ended", stats.leaks_ended},
            {"longest_wait", seconds(stats.longest_wait)},
            {"wait", quantiles(stats.wait)},
            {"use", quantiles(stats.use)},
            {"connect", quantiles(stats.connect)},
            {"oldest_lease", nullptr},
            {"connect_attempts", stats.connect_attempts},
            {"connect_failures", stats.connect_failures},
            {"connections_lost", stats.connections_lost},
            {"reconnects", stats.reconnects},
            {"is_down", stats.is_down},
            {"endpoint", stats.endpoint},
            {"last_error", stats.last_error},
            {"last_error_at", nullptr}};
    if (stats.oldest_lease)
        json["oldest_lease"] = {{"age", seconds(stats.oldest_lease->age)},
                                {"age_is_exact", stats.oldest_lease->age_is_exact},
                                {"file", stats.oldest_lease->file},
                                {"line", stats.oldest_lease->line}};
    if (!stats.last_error.empty())
        json["last_error_at"] = std::chrono::duration<double>(stats.last_error_at.time_since_epoch()).count();
}

void to_json(Json& json, const BrokerStats& stats) {
    json = {{"broker", stats.broker},           {"connections", stats.connections},
            {"published", stats.published},     {"published_bytes", stats.published_bytes},
            {"confirmed", stats.confirmed},     {"refused", stats.refused},
            {"returned", stats.returned},       {"failed", stats.failed},
            {"received", stats.received},       {"received_bytes", stats.received_bytes},
            {"redelivered", stats.redelivered}, {"acknowledged", stats.acknowledged},
            {"rejected", stats.rejected},       {"requeued", stats.requeued}};
}

}  // namespace kombu
