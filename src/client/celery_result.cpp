// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/celery_result.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"
#include "net/round_trip.hpp"
#include "support/uuid.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

namespace kombu::celery {

/// A kind of backend.
class ResultStore {
public:
    virtual ~ResultStore() = default;
    /// The last state of a task, as the worker has stored it. Waits until `until` for a task that has not ended.
    virtual async::Operation<std::optional<Json>> fetch(std::string id, Deadline until) = 0;
    virtual async::Operation<> forget(std::string id) = 0;
    virtual const std::optional<std::string>& reply_to() const noexcept = 0;
};

namespace {

bool is_ready(const Json& meta) { return AsyncResult::is_ready_state(meta["status"].get_ref<const std::string&>()); }

/// What a worker has stored; null when it is not what Celery's JSON serializer writes.
Json parse_meta(std::string_view text) {
    Json meta = Json::parse(text, nullptr, false);
    const bool is_valid = meta.is_object() && meta.contains("status") && meta["status"].is_string();
    return is_valid ? meta : Json{};
}

void check_meta(const Json& meta, const std::string& id) {
    if (meta.is_null()) throw DecodeError("task " + id + ": its result is not one of Celery's, in JSON");
}

class RedisResults final : public ResultStore {
public:
    explicit RedisResults(Connection connection) : connection_(std::move(connection)) {}

    async::Operation<std::optional<Json>> fetch(std::string id, Deadline until) override {
        kombu::detail::ConnectionState& state = *kombu::detail::ClientAccess::state(connection_);
        const kombu::detail::ConnectionState::OperationGuard guard{state};
        const std::string key = key_of(id);
        std::optional<std::string> known;
        for (;;) {
            known = co_await state.await_value(key, known, until);
            std::optional<Json> meta;
            if (known) check_meta(meta.emplace(parse_meta(*known)), id);
            if (until.expired() || (meta && is_ready(*meta))) co_return meta;
        }
    }
    async::Operation<> forget(std::string id) override {
        kombu::detail::ConnectionState& state = *kombu::detail::ClientAccess::state(connection_);
        const kombu::detail::ConnectionState::OperationGuard guard{state};
        co_await state.erase_value(key_of(id), state.deadline({}));
    }
    const std::optional<std::string>& reply_to() const noexcept override { return no_reply_to_; }

private:
    static std::string key_of(const std::string& id) { return "celery-task-meta-" + id; }

    Connection connection_;
    const std::optional<std::string> no_reply_to_{};
};

class RpcResults final : public ResultStore {
public:
    explicit RpcResults(Connection connection)
        : connection_(std::move(connection)),
          reply_to_(make_uuid()),
          queue_(*reply_to_, {.durable = false, .exclusive = true}) {}

    async::Operation<> open() {
        kombu::detail::ConnectionState& state = *kombu::detail::ClientAccess::state(connection_);
        const kombu::detail::ConnectionState::OperationGuard guard{state};
        co_await open_channel(state, state.deadline({}));
    }
    async::Operation<std::optional<Json>> fetch(std::string id, Deadline until) override {
        kombu::detail::ConnectionState& state = *kombu::detail::ClientAccess::state(connection_);
        const kombu::detail::ConnectionState::OperationGuard guard{state};
        for (bool has_looked = false;; has_looked = true) {
            co_await open_channel(state, std::min(state.deadline({}), net::allow_round_trip(until)));
            read_events();
            auto found = received_.find(id);
            const bool is_last = has_looked && until.expired();
            if (found != received_.end()) check_meta(found->second, id);
            if (found != received_.end() && is_ready(found->second)) {
                Json meta = std::move(found->second);
                drop(found);
                co_return meta;
            }
            if (is_last) co_return found == received_.end() ? std::nullopt : std::optional<Json>{found->second};
            if (channel_) co_await state.await_events(until, until, false);
        }
    }
    async::Operation<> forget(std::string id) override {
        if (const auto found = received_.find(id); found != received_.end()) drop(found);
        co_return;
    }
    const std::optional<std::string>& reply_to() const noexcept override { return reply_to_; }

private:
    static constexpr std::size_t max_results = 8192;
    static constexpr int resource_locked = 405;
    using Received = std::map<std::string, Json>;

    /// After a failure of the connection the queue, which went with it, is there again. The broker may need a moment to
    /// notice the end of the old connection.
    async::Operation<> open_channel(kombu::detail::ConnectionState& state, Deadline deadline) {
        while (!channel_ || !channel_->is_open()) {
            channel_.reset();
            bool is_locked = false;
            try {
                const auto channel = co_await state.open_channel(deadline);
                co_await channel->queue_declare(queue_, deadline);
                const ConsumeOptions options{.tag = "results", .no_ack = true};
                co_await channel->basic_consume(queue_, options, deadline);
                channel_ = channel;
            } catch (const ChannelError& error) {
                if (error.code() != resource_locked || deadline.expired()) throw;
                is_locked = true;
            }
            if (is_locked) co_await sleep_until(Deadline::after(std::chrono::milliseconds{100}));
        }
    }
    void read_events() {
        while (const auto event = channel_->next_event()) {
            if (event->delivery) {
                store(*event->delivery);
                continue;
            }
            // Somebody has deleted the queue: make it again.
            channel_->close_nowait();
            channel_.reset();
            return;
        }
    }
    void store(const Delivery& delivery) {
        const std::string id = delivery.properties.correlation_id.value_or("");
        if (received_.insert_or_assign(id, parse_meta(delivery.body)).second) order_.push_back(id);
        if (received_.size() > max_results) drop(received_.find(order_.front()));
    }
    void drop(Received::iterator found) {
        std::erase(order_, found->first);
        received_.erase(found);
    }

    Connection connection_;
    const std::optional<std::string> reply_to_;
    const Queue queue_;
    std::shared_ptr<TransportChannel> channel_{};
    Received received_{};              // of those that nobody has asked for since
    std::deque<std::string> order_{};  // of arrival
};

[[noreturn]] void throw_failure(const std::string& id, const Json& meta) {
    const std::string state = meta["status"];
    const auto text_of = [](const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); };
    std::string type = state == "REVOKED" ? "TaskRevokedError" : "Exception", message;
    const Json result = meta.value("result", Json{});
    if (result.is_object()) {
        if (result.contains("exc_type")) type = text_of(result["exc_type"]);
        const Json arguments = result.value("exc_message", Json{});
        if (arguments.is_array())
            for (const Json& argument : arguments) message += (message.empty() ? "" : ", ") + text_of(argument);
        else if (!arguments.is_null())
            message = text_of(arguments);
    } else if (!result.is_null()) {
        message = text_of(result);
    }
    const Json traceback = meta.value("traceback", Json{});
    throw TaskFailure(id, state, type, message, traceback.is_string() ? traceback.get<std::string>() : "");
}

}  // namespace

/// Shared with operations, which may outlive the object.
struct AsyncResult::State {
    std::shared_ptr<ResultStore> store;
    std::string id;
    std::optional<Json> last{};

    static async::Operation<Json> get(std::shared_ptr<State> state, Deadline until) {
        if (!state->last || !is_ready(*state->last)) state->last = co_await state->store->fetch(state->id, until);
        if (!state->last || !is_ready(*state->last))
            throw ResultTimeout("task " + state->id + " has not ended in time");
        if ((*state->last)["status"] != "SUCCESS") throw_failure(state->id, *state->last);
        co_return state->last->value("result", Json{});
    }
};

AsyncResult::AsyncResult(std::shared_ptr<ResultStore> store, std::string id)
    : state_(std::make_shared<State>(std::move(store), std::move(id))) {}

const std::string& AsyncResult::id() const noexcept { return state_->id; }

bool AsyncResult::is_ready_state(const std::string& state) noexcept {
    return state == "SUCCESS" || state == "FAILURE" || state == "REVOKED";
}

Json AsyncResult::get(OptionalTimeout timeout) { return net::run(async::Operations::get_result(*this, timeout)); }

void AsyncResult::refresh() {
    if (!state_->last || !is_ready(*state_->last))
        state_->last = net::run(state_->store->fetch(state_->id, Deadline::at({})));
}

std::string AsyncResult::state() {
    refresh();
    return state_->last ? (*state_->last)["status"].get<std::string>() : "PENDING";
}

std::string AsyncResult::traceback() {
    refresh();
    const Json text = state_->last ? state_->last->value("traceback", Json{}) : Json{};
    return text.is_string() ? text.get<std::string>() : "";
}

void AsyncResult::forget() {
    state_->last.reset();
    net::run(state_->store->forget(state_->id));
}

ResultBackend::ResultBackend(std::shared_ptr<ResultStore> store) : store_(std::move(store)) {}

ResultBackend ResultBackend::redis(const Connection& connection) {
    const std::string& transport = connection.transport();
    if (!transport.starts_with("redis") && !transport.starts_with("sentinel"))
        throw ConfigurationError("result backend: needs a connection to Redis, not " + transport);
    return ResultBackend{std::make_shared<RedisResults>(connection)};
}

ResultBackend ResultBackend::rpc(const Connection& connection) {
    auto results = std::make_shared<RpcResults>(connection);
    net::run(results->open());
    return ResultBackend{std::move(results)};
}

AsyncResult ResultBackend::result(std::string id) const { return AsyncResult{store_, std::move(id)}; }
const std::optional<std::string>& ResultBackend::reply_to() const noexcept { return store_->reply_to(); }

}  // namespace kombu::celery

kombu::async::Operation<kombu::Json> kombu::async::Operations::get_result(celery::AsyncResult& result,
                                                                          OptionalTimeout timeout) {
    return celery::AsyncResult::State::get(result.state_, Deadline::after(timeout));
}
