// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/connection.hpp>
#include <kombu/pool/detail/pool_engine.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/producer.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <source_location>

namespace kombu::detail {
class ConnectionState;
}

namespace kombu::pools {

/// A producer of a pool, and the connection that it holds while it is leased.
class PooledProducer final : public Producer {
public:
    /// A lease of the producer begins with this connection.
    void begin_lease(Lease<Connection> connection);

    /// The same with the connection of its last lease: one compare-and-swap tells that it is idle in the same pool.
    /// False when it is not, or not ready. `now`: of the coarse clock.
    bool try_begin_lease(const std::source_location& site, std::int64_t now) noexcept;

    /// `discard`: the connection is not to be kept.
    void end_lease(bool discard) noexcept;

    /// Interrupts the connection, if the producer is leased. From any thread.
    void interrupt() noexcept;

private:
    void hold(Lease<Connection> connection);

    Lease<Connection> lease_{};
    kombu::detail::PoolEngine::PastLease last_lease_{};
    // The connection stays leased while interrupt() uses it. The end of a lease and interrupt() see each other by
    // Dekker's argument (store_before_loads()), so that the lease pays for it when it is interrupted only.
    std::atomic<kombu::detail::ConnectionState*> held_{nullptr};
    std::atomic<bool> interrupting_{false};
    std::mutex mutex_{};  // held during interrupt()
};

}  // namespace kombu::pools
