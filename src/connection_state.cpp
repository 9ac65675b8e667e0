#include "connection_state.hpp"

#include <kombu/error.hpp>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <numeric>
#include <random>
#include <utility>

namespace kombu::detail {

TransportConnection& ConnectionState::session(Deadline deadline) {
    if (is_inherited()) abandon();
    if (interrupted_) throw ConnectionError("the connection was taken away by a reset of its pool", 0, false);
    if (!connected()) {
        abandon();
        auto fresh = connect_somewhere(deadline);
        std::unique_lock<ForkSafeMutex> lock{session_mutex_};
        session_ = std::move(fresh);
        if (interrupted_) {
            lock.unlock();
            abandon();
            throw ConnectionError("the connection was taken away by a reset of its pool", 0, false);
        }
    }
    return *session_;
}

std::vector<std::size_t> ConnectionState::endpoint_order() const {
    std::vector<std::size_t> order(description_->parameters.endpoints.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (description_->parameters.failover_strategy == "shuffle") {
        thread_local std::minstd_rand random{std::random_device{}()};
        std::shuffle(order.begin(), order.end(), random);
    } else {
        std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(last_endpoint_), order.end());
    }
    return order;
}

std::shared_ptr<TransportConnection> ConnectionState::connect_somewhere(Deadline deadline) {
    const ConnectionParameters& parameters = description_->parameters;
    std::string failures;
    int code = 0;
    bool retryable = false;
    for (const std::size_t index : endpoint_order()) {
        const Endpoint& endpoint = parameters.endpoints[index];
        const Deadline attempt = std::min(deadline, Deadline::after(parameters.connect_timeout));
        try {
            const auto start = Clock::now();
            auto connected = description_->transport->connect(endpoint, parameters, attempt);
            last_endpoint_ = index;
            if (connect_log_) connect_log_->connected(Clock::now() - start);
            return connected;
        } catch (const ConnectionError& error) {
            if (connect_log_) connect_log_->failed(error.what());
            if (parameters.endpoints.size() == 1) throw;
            failures += (failures.empty() ? "" : "; ") + std::string{error.what()};
            code = error.code();
            retryable = retryable || error.is_retryable();
        }
        if (deadline.expired()) throw Timeout("no endpoint accepted a connection in time: " + failures);
        if (interrupted_) break;
    }
    throw ConnectionError("no endpoint accepts connections: " + failures, code, retryable);
}

std::shared_ptr<TransportChannel> ConnectionState::open_channel(Deadline deadline) {
    auto channel = session(deadline).open_channel(deadline);
    std::erase_if(channels_, [](const auto& known) { return known.expired(); });
    channels_.push_back(channel);
    return channel;
}

std::shared_ptr<TransportChannel> ConnectionState::default_channel(Deadline deadline) {
    if (is_inherited()) abandon();
    if (!default_channel_ || !default_channel_->is_open() || !connected() || interrupted_) {
        if (default_channel_) {
            default_channel_->close_nowait();
            declared_.clear();  // it was closed by a refusal, and what is known may be what was refused
        }
        default_channel_ = session(deadline).open_channel(deadline);
    }
    return default_channel_;
}

void ConnectionState::forget_inherited() noexcept {
    // Their destructors would say goodbye on sockets that are the parent's: they are never run.
    struct Inherited {
        std::shared_ptr<TransportConnection> session;
        std::shared_ptr<TransportChannel> channel;
        const Inherited* earlier;
    };
    static std::atomic<const Inherited*> all{nullptr};  // keeps them reachable
    auto* const inherited = new (std::nothrow) Inherited{std::move(session_), std::move(default_channel_), all.load()};
    if (!inherited) std::abort();
    while (!all.compare_exchange_weak(inherited->earlier, inherited)) {
    }
    channels_.clear();
    declared_.clear();
    interrupted_ = false;
    epoch_ = fork_epoch();
}

std::shared_ptr<TransportConnection> ConnectionState::detach() noexcept {
    if (is_inherited()) forget_inherited();
    for (const auto& known : channels_)
        if (const auto channel = known.lock()) channel->close_nowait();
    if (default_channel_) default_channel_->close_nowait();
    default_channel_.reset();
    channels_.clear();
    declared_.clear();
    std::lock_guard lock{session_mutex_};
    return std::exchange(session_, nullptr);
}

void ConnectionState::release(Deadline deadline) noexcept {
    if (const auto session = detach()) session->close(deadline);
}

void ConnectionState::abandon() noexcept {
    if (const auto session = detach()) session->abandon();
}

bool ConnectionState::usable() noexcept {
    return !interrupted_ && (!session_ || (session_->is_open() && session_->is_alive()));
}

bool ConnectionState::recycle() noexcept {
    end_tenancy();
    if (interrupted_) return false;
    if (!session_) return true;
    if (!session_->is_open()) return false;
    for (const auto& known : std::exchange(channels_, {}))
        if (const auto channel = known.lock(); channel && !channel->close_nowait()) return false;
    if (default_channel_ && (default_channel_->unsettled() != 0 || !default_channel_->is_open())) {
        if (!default_channel_->is_open()) declared_.clear();
        if (!default_channel_->close_nowait()) return false;
        default_channel_.reset();
    }
    return true;
}

void ConnectionState::interrupt() noexcept {
    interrupted_ = true;
    std::shared_ptr<TransportConnection> session;
    {
        std::lock_guard lock{session_mutex_};
        session = session_;
    }
    if (session) session->interrupt();
}

}  // namespace kombu::detail
