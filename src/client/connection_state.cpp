#include "client/connection_state.hpp"

#include <kombu/error.hpp>

#include "client/prepared_message.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <numeric>
#include <random>
#include <utility>

namespace kombu::detail {

namespace {

[[noreturn]] void taken_away() {
    throw ConnectionError("the connection was taken away by a reset of its pool", 0, false);
}

}  // namespace

ConnectionState::ConnectionState(std::shared_ptr<const Description> description)
    : description_(std::move(description)),
      heads_(std::make_unique<HeadCache>()),
      operation_timeout_(description_->parameters.operation_timeout()) {}

ConnectionState::~ConnectionState() { abandon(); }

ConnectionState::Use::Use(ConnectionState& state) : state_(state) {
    if (state.is_inherited()) state.abandon();
    if (state.in_use_.exchange(true, std::memory_order_acquire))
        throw LeaseError("the connection is busy with another operation: one at a time, or one connection for each");
}

ConnectionState::Use::~Use() {
    state_.in_use_.store(false, std::memory_order_release);
    if (state_.retired_) state_.abandon();
}

void ConnectionState::retire() noexcept {
    next_lease();
    if (!in_use_) return abandon();
    retired_ = true;
    interrupt();  // whoever uses it ends it
}

async::Operation<> ConnectionState::connect(Deadline deadline) {
    if (is_inherited()) abandon();
    if (interrupted_) taken_away();
    if (connected()) co_return;
    abandon();
    auto fresh = co_await connect_patiently(deadline);
    {
        std::lock_guard<ForkSafeMutex> lock{session_mutex_};
        session_ = std::move(fresh);
    }
    if (!interrupted_) co_return;
    abandon();
    taken_away();
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

async::Operation<std::shared_ptr<TransportConnection>> ConnectionState::connect_patiently(Deadline deadline) {
    const ConnectionParameters& parameters = description_->parameters;
    const RetryPolicy policy = parameters.connect_policy();
    const Deadline by = std::min(deadline, Deadline::after(policy.timeout));
    Backoff backoff{policy, by};
    for (;;) {
        std::optional<std::chrono::milliseconds> pause;
        try {
            auto connected = co_await connect_somewhere(by);
            co_return connected;
        } catch (const ConnectionError& error) {
            if (error.is_retryable() && !interrupted_) pause = backoff.next();
            if (!pause) throw;
        }
        for (const Deadline again = Deadline::after(*pause); !again.expired();) co_await async::Wait{.until = again};
    }
}

async::Operation<std::shared_ptr<TransportConnection>> ConnectionState::connect_somewhere(Deadline deadline) {
    const ConnectionParameters& parameters = description_->parameters;
    std::string failures;
    int code = 0;
    bool retryable = false;
    for (const std::size_t index : endpoint_order()) {
        const Endpoint& endpoint = parameters.endpoints[index];
        const Deadline attempt = std::min(deadline, Deadline::after(parameters.connect_timeout));
        try {
            const auto start = Clock::now();
            auto connected = co_await description_->transport->connect(endpoint, parameters, attempt);
            last_endpoint_ = index;
            if (connect_log_) connect_log_->connected(Clock::now() - start);
            co_return connected;
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

async::Operation<std::shared_ptr<TransportChannel>> ConnectionState::open_channel(Deadline deadline) {
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    auto channel = co_await session->open_channel(deadline);
    std::erase_if(channels_, [](const auto& known) { return known.expired(); });
    channels_.push_back(channel);
    co_return channel;
}

const std::shared_ptr<TransportChannel>& ConnectionState::ready_channel() const noexcept {
    static constinit std::shared_ptr<TransportChannel> none;
    const bool ready =
        !is_inherited() && default_channel_ && default_channel_->is_open() && connected() && !interrupted_;
    return ready ? default_channel_ : none;
}

async::Operation<std::shared_ptr<TransportChannel>> ConnectionState::default_channel(Deadline deadline) {
    if (is_inherited()) abandon();
    if (const auto& ready = ready_channel()) co_return ready;
    if (default_channel_) {
        default_channel_->close_nowait();
        declared_.clear();  // it was closed by a refusal, and what is known may be what was refused
    }
    co_await connect(deadline);
    const std::shared_ptr<TransportConnection> session = session_;
    default_channel_ = co_await session->open_channel(deadline);
    co_return default_channel_;
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
    interrupted_ = in_use_ = false;
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
    if (in_use_ && !is_inherited()) {  // by an operation that this ends
        const std::lock_guard<ForkSafeMutex> lock{session_mutex_};
        if (session_) session_->interrupt();
        return;
    }
    try {
        if (const auto session = detach()) net::run(session->close(deadline));
    } catch (...) {
    }
}

void ConnectionState::abandon() noexcept {
    if (const auto session = detach()) session->abandon();
}

bool ConnectionState::usable() noexcept {
    return !interrupted_ && (!session_ || (session_->is_open() && session_->is_alive()));
}

bool ConnectionState::recycle() noexcept {
    next_lease();
    if (interrupted_ || in_use_) return false;
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
