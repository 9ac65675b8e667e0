// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

/// The statistics of pools and brokers for Prometheus. CMake: `find_package(kombu COMPONENTS metrics)`,
/// `kombu::metrics`.
namespace kombu::metrics {

/// The options of a Collector.
struct CollectorOptions {
    /// The number of pools, and of brokers, that have series of their own: the first ones. Others are added up as
    /// `other`, so that a program that makes a pool for every user cannot fill the memory of Prometheus.
    std::size_t max_series = 100;
};

/// Exports the statistics of all pools of the global groups and of the registered ones, and of all brokers:
///
///     prometheus::Exposer exposer{"127.0.0.1:9464"};
///     const auto collector = std::make_shared<kombu::metrics::Collector>();
///     exposer.RegisterCollectable(collector);
///
/// docs/metrics.md lists the metrics. Pools with equal labels are added up. No label has a password.
///
/// \par Thread safety
/// May be used by any number of threads.
class KOMBU_EXPORT Collector final : public prometheus::Collectable {
public:
    /// Needs no registration with pools: each call reads the statistics of all.
    explicit Collector(CollectorOptions options = {});
    ~Collector() override;
    /// The metrics now, for an Exposer of prometheus-cpp.
    std::vector<prometheus::MetricFamily> Collect() const override;
    /// The same in Prometheus' text format.
    std::string text() const;

private:
    struct Admitted;
    const CollectorOptions options_;
    const std::unique_ptr<Admitted> admitted_;
};

}  // namespace kombu::metrics
