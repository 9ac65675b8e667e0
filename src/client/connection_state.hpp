// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/connection.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/broker_status.hpp"
#include "client/connection_config.hpp"
#include "client/message_counters.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kombu {
class MessageBuilder;
}

namespace kombu::detail {

/// The implementation of Connection: its session, its channels, the declarations made. Used by one thread at a time,
/// except where documented.
class ConnectionState : public std::enable_shared_from_this<ConnectionState> {
public:
    explicit ConnectionState(std::shared_ptr<const ConnectionConfig> config);
    ConnectionState(const ConnectionState&) = delete;
    ConnectionState& operator=(const ConnectionState&) = delete;
    ~ConnectionState();

    const ConnectionConfig& config() const noexcept { return *config_; }
    const std::shared_ptr<const ConnectionConfig>& shared_config() const noexcept { return config_; }

    /// The deadline of an operation. Without a timeout, the operation_timeout of the connection applies.
    Deadline deadline(OptionalTimeout timeout) const { return Deadline::after(timeout.or_else(operation_timeout_)); }
    /// Of an operation without a timeout that began at `start`.
    Deadline operation_deadline(Clock::time_point start) const { return Deadline::after(operation_timeout_, start); }

    /// The endpoint of the latest session. Thread-safe.
    const Endpoint& endpoint_in_use() const noexcept { return config_->parameters.endpoints[session_endpoint_]; }
    std::size_t index_in_use() const noexcept { return session_endpoint_; }
    bool connected() const noexcept { return !is_inherited() && session_ && session_->is_open(); }

    /// Marks the connection as in use while one operation runs. Throws LeaseError when another operation is running:
    /// their bytes would interleave.
    class OperationGuard {
    public:
        explicit OperationGuard(ConnectionState& state);
        OperationGuard(const OperationGuard&) = delete;
        OperationGuard& operator=(const OperationGuard&) = delete;
        ~OperationGuard();

    private:
        ConnectionState& state_;
    };

    MessageCounters& counters() noexcept { return counters_; }
    void count_published(std::size_t bytes) noexcept { counters_.published(bytes, has_confirms_); }
    MessageBuilder& message_builder() noexcept { return *message_builder_; }

    /// Connects unless connected. This and the next two are parts of operations: their callers hold an OperationGuard
    /// and a reference to the state.
    async::Operation<> connect(Deadline deadline);
    async::Operation<std::shared_ptr<TransportChannel>> default_channel(Deadline deadline);
    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline);
    /// The default channel when it is ready without I/O, else null.
    const std::shared_ptr<TransportChannel>& ready_channel() const noexcept;

    /// The broker has refused a message. After the loss of a node RabbitMQ goes on refusing those of a channel that
    /// used a queue there, though others are accepted: so the default channel is replaced, now and then.
    void on_nacked() noexcept;

    /// Closes the session with the closing handshake of its protocol, by the deadline.
    void release(Deadline deadline) noexcept;
    /// Closes the session without waiting for the broker.
    void abandon() noexcept;
    /// Closes the connection for good: objects made from it throw LeaseError from now on.
    void close_for_good() noexcept;
    /// For a connection of a pool. Before its first use.
    void set_broker_status(std::shared_ptr<BrokerStatus> status) noexcept { broker_ = std::move(status); }
    /// The pause of a RetryPolicy. While the broker is down it ends with the first connect of the pool.
    async::Operation<> pause_before_retry(Deadline until);

    /// Whether the peer is still there, checked without a round trip. True when not connected, false when interrupted.
    bool is_alive() noexcept;
    /// Called at the end of a lease: closes the channels that the holder left open. False when the connection must not
    /// be leased again.
    bool recycle() noexcept;
    /// Makes the holder's current wait and all later operations fail. Safe from any thread.
    void interrupt() noexcept;

    /// The consumers of this lease, which may have been destroyed; the one that was served last comes last.
    const std::vector<std::weak_ptr<ConsumerState>>& consumers() const noexcept { return consumers_; }
    void add_consumer(const std::shared_ptr<ConsumerState>& consumer);
    void on_served(std::size_t index);
    /// See TransportConnection; a part of an operation, which connects when necessary. So are the next three.
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable);
    async::Operation<std::optional<std::string>> await_value(std::string key, std::optional<std::string> known,
                                                             Deadline until);
    async::Operation<> erase_value(std::string key, Deadline deadline);
    async::Operation<BrokerInfo> broker_info(Deadline deadline);
    /// Held by drain_events(). Throws LeaseError in a handler that it calls.
    class DrainGuard {
    public:
        explicit DrainGuard(ConnectionState& state);
        DrainGuard(const DrainGuard&) = delete;
        DrainGuard& operator=(const DrainGuard&) = delete;
        ~DrainGuard() { state_->is_draining_ = false; }

    private:
        std::shared_ptr<ConnectionState> state_;  // a handler may give the connection back
    };

    bool is_declared(const std::string& fingerprint) const { return declared_fingerprints_.contains(fingerprint); }
    void remember_declaration(const std::string& fingerprint) { declared_fingerprints_.insert(fingerprint); }
    void forget_declarations() noexcept { declared_fingerprints_.clear(); }

    std::uint64_t lease_generation() const noexcept { return lease_generation_.load(std::memory_order_relaxed); }

private:
    /// connect_with_retry() repeats connect_once() by the transport options. connect_once() waits until an attempt of
    /// the pool is due. connect_any() tries each endpoint once, for the attempt unless it is null.
    async::Operation<std::shared_ptr<TransportConnection>> connect_with_retry(Deadline deadline);
    async::Operation<std::shared_ptr<TransportConnection>> connect_once(Deadline deadline);
    async::Operation<std::shared_ptr<TransportConnection>> connect_any(Deadline deadline,
                                                                       BrokerStatus::Attempt* attempt);
    std::vector<std::size_t> endpoint_order() const;
    void advance_endpoint() noexcept;
    std::shared_ptr<TransportConnection> detach_session() noexcept;
    void record_end_of_session() noexcept;
    /// Only the holder writes it, so it needs no atomic read-modify-write, which would cost as much as the rest of a
    /// pool's cycle.
    void next_lease() noexcept { lease_generation_.store(lease_generation() + 1, std::memory_order_relaxed); }
    bool is_inherited() const noexcept { return epoch_ != fork_epoch(); }
    void leak_inherited_session() noexcept;

    const std::shared_ptr<const ConnectionConfig> config_;
    std::uint32_t epoch_ = fork_epoch();
    ForkSafeMutex session_mutex_;  // for interrupt(): only the holder writes, under the lock; its reads need no lock
    std::shared_ptr<TransportConnection> session_;
    std::shared_ptr<TransportChannel> default_channel_;
    std::vector<std::weak_ptr<TransportChannel>> channels_;
    std::vector<std::weak_ptr<ConsumerState>> consumers_;
    bool is_draining_ = false;
    std::unordered_set<std::string> declared_fingerprints_;
    std::size_t last_endpoint_ = 0;
    std::atomic<std::size_t> session_endpoint_{0};
    AttemptPacing::Version session_epoch_ = 0;
    bool connect_failed_ = false;
    Deadline next_replacement_ = Deadline::at({});  // of the default channel after a Nacked
    std::atomic<std::uint64_t> lease_generation_{0};
    std::atomic<bool> interrupted_{false};
    // Used by one thread. Atomic in case a lease is released, against the rules, while another thread still uses the
    // connection.
    std::atomic<bool> in_use_{false};
    std::atomic<bool> close_pending_{false};
    std::shared_ptr<BrokerStatus> broker_;
    MessageCounters counters_{};
    const std::unique_ptr<MessageBuilder> message_builder_;
    const std::chrono::nanoseconds operation_timeout_;
    const bool has_confirms_;
};

}  // namespace kombu::detail
