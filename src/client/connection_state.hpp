#pragma once

#include <kombu/channel.hpp>
#include <kombu/connection.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/operation.hpp>
#include <kombu/pool/stats.hpp>
#include <kombu/transport.hpp>

#include "client/connection_config.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kombu {
class HeadCache;
}

namespace kombu::detail {

/// How the connections of a pool connected: each does when it is first used, which the pool does not see.
class ConnectLog {
public:
    void failed(std::string why) {
        Entries& own = entries_.get();
        std::lock_guard lock{own.mutex};
        own.last_error = std::move(why);
    }
    void connected(std::chrono::nanoseconds took) {
        Entries& own = entries_.get();
        std::lock_guard lock{own.mutex};
        own.last_error.clear();
        own.times.add(took);
    }
    /// Empty when connecting has worked since.
    std::string last_error() const {
        Entries& own = entries_.get();
        std::lock_guard lock{own.mutex};
        return own.last_error;
    }
    DurationHistogram times() const {
        Entries& own = entries_.get();
        std::lock_guard lock{own.mutex};
        return own.times;
    }

private:
    struct Entries {
        std::mutex mutex{};
        std::string last_error{};
        DurationHistogram times{};
    };
    mutable ForkLocal<Entries> entries_;
};

/// A connection's inside: its session, its channels, what was declared. Used by one thread at a time, except where
/// said.
class ConnectionState : public std::enable_shared_from_this<ConnectionState> {
public:
    explicit ConnectionState(std::shared_ptr<const Description> description);
    ConnectionState(const ConnectionState&) = delete;
    ConnectionState& operator=(const ConnectionState&) = delete;
    ~ConnectionState();

    const Description& description() const noexcept { return *description_; }
    const std::shared_ptr<const Description>& shared_description() const noexcept { return description_; }

    /// The deadline of an operation, with or without a timeout of its own.
    Deadline deadline(OptionalTimeout timeout) const { return Deadline::after(timeout.or_else(operation_timeout_)); }

    bool connected() const noexcept { return !is_inherited() && session_ && session_->is_open(); }

    /// One operation of the connection's user, from its beginning to its end. Throws LeaseError when there is one
    /// already: their bytes would mix.
    class Use {
    public:
        explicit Use(ConnectionState& state);
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use();

    private:
        ConnectionState& state_;
    };

    /// Something done at once, which takes no part in what an operation may be doing.
    class Moment {
    public:
        explicit Moment(ConnectionState& state) noexcept
            : state_(state), ours_(!state.in_use_.exchange(true, std::memory_order_acquire)) {}
        Moment(const Moment&) = delete;
        Moment& operator=(const Moment&) = delete;
        ~Moment() {
            if (ours_) state_.in_use_.store(false, std::memory_order_release);
        }
        /// Otherwise an operation is going on.
        bool is_ours() const noexcept { return ours_; }

    private:
        ConnectionState& state_;
        bool ours_;
    };
    /// In a Moment, or for an operation.
    HeadCache& heads() noexcept { return *heads_; }

    /// Connects unless connected. The next three are parts of operations: their callers hold a Use and the state.
    async::Operation<> connect(Deadline deadline);
    async::Operation<std::shared_ptr<TransportChannel>> default_channel(Deadline deadline);
    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline deadline);
    /// The default channel when there is nothing to do to have it, else null.
    const std::shared_ptr<TransportChannel>& ready_channel() const noexcept;

    /// Ends the session politely.
    void release(Deadline deadline) noexcept;
    /// Ends the session at once.
    void abandon() noexcept;
    /// Ends for good: what was made from the connection refuses to work from now on.
    void retire() noexcept;
    void report_to(std::shared_ptr<ConnectLog> log) noexcept { connect_log_ = std::move(log); }

    /// Looks whether the peer is still there. True when nothing is connected.
    bool usable() noexcept;
    /// The present holder gives the connection back: ends what it left open. False when the connection is not fit for
    /// the next holder.
    bool recycle() noexcept;
    /// From any thread: ends what the holder waits for, and every later use.
    void interrupt() noexcept;

    bool declared(const std::string& fingerprint) const { return declared_.contains(fingerprint); }
    void remember_declaration(const std::string& fingerprint) { declared_.insert(fingerprint); }
    void forget_declarations() noexcept { declared_.clear(); }

    std::uint64_t lease_generation() const noexcept { return lease_generation_.load(std::memory_order_relaxed); }

private:
    /// As often as the transport options say; and once.
    async::Operation<std::shared_ptr<TransportConnection>> connect_patiently(Deadline deadline);
    async::Operation<std::shared_ptr<TransportConnection>> connect_somewhere(Deadline deadline);
    std::vector<std::size_t> endpoint_order() const;
    std::shared_ptr<TransportConnection> detach() noexcept;
    /// Only the owner changes it: no read-modify-write, which would cost as much as the rest of a pool's cycle.
    void next_lease() noexcept { lease_generation_.store(lease_generation() + 1, std::memory_order_relaxed); }
    bool is_inherited() const noexcept { return epoch_ != fork_epoch(); }
    void forget_inherited() noexcept;

    const std::shared_ptr<const Description> description_;
    std::uint32_t epoch_ = fork_epoch();
    ForkSafeMutex session_mutex_;  // for interrupt(): only the owner writes, under the lock; its own reads need none
    std::shared_ptr<TransportConnection> session_;
    std::shared_ptr<TransportChannel> default_channel_;
    std::vector<std::weak_ptr<TransportChannel>> channels_;
    std::unordered_set<std::string> declared_;
    std::size_t last_endpoint_ = 0;
    std::atomic<std::uint64_t> lease_generation_{0};
    std::atomic<bool> interrupted_{false};
    // Of one thread; atomic for those who give a connection back while another thread still uses it, against the rules.
    std::atomic<bool> in_use_{false};
    std::atomic<bool> retired_{false};
    std::shared_ptr<ConnectLog> connect_log_;
    const std::unique_ptr<HeadCache> heads_;
    const std::chrono::nanoseconds operation_timeout_;
};

}  // namespace kombu::detail
