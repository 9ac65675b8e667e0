// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/celery_result.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"
#include "support/uuid.hpp"

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
        co_await open_channel(state);
    }
    async::Operation<std::optional<Json>> fetch(std::string id, Deadline until) override {
        kombu::detail::ConnectionState& state = *kombu::detail::ClientAccess::state(connection_);
        const kombu::detail::ConnectionState::OperationGuard guard{state};
        for (bool has_looked = false;; has_looked = true) {
            co_await open_channel(state);
            while (const auto event = channel_->next_event())
                if (event->delivery) store(*event->delivery);
            const auto found = received_.find(id);
            const bool is_last = has_looked && until.expired();
            if (found != received_.end()) check_meta(found->second, id);
            if (found != received_.end() && (is_last || is_ready(found->second))) co_return found->second;
            if (is_last) co_return std::nullopt;
            co_await state.await_events(until, false);
        }
    }
    async::Operation<> forget(std::string id) override {
        received_.erase(id);
        co_return;
    }
    const std::optional<std::string>& reply_to() const noexcept override { return reply_to_; }

private:
    static constexpr std::size_t max_results = 8192;

    /// After a failure of the connection the queue, which went with it, is there again.
    async::Operation<> open_channel(kombu::detail::ConnectionState& state) {
        if (channel_ && channel_->is_open()) co_return;
        const Deadline deadline = state.deadline({});
        channel_ = co_await state.open_channel(deadline);
        co_await channel_->queue_declare(queue_, deadline);
        const ConsumeOptions options{.tag = "results", .no_ack = true};
        co_await channel_->basic_consume(queue_, options, deadline);
    }
    void store(const Delivery& delivery) {
        const std::string id = delivery.properties.correlation_id.value_or("");
        if (received_.insert_or_assign(id, parse_meta(delivery.body)).second) order_.push_back(id);
        while (received_.size() > max_results) {
            received_.erase(order_.front());
            order_.pop_front();
        }
        // Those that were forgotten.
        if (order_.size() > 2 * max_results)
            std::erase_if(order_, [&](const std::string& old) { return !received_.contains(old); });
    }

    Connection connection_;
    const std::optional<std::string> reply_to_;
    const Queue queue_;
    std::shared_ptr<TransportChannel> channel_{};
    std::map<std::string, Json> received_{};
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

AsyncResult::AsyncResult(std::shared_ptr<ResultStore> store, std::string id)
    : store_(std::move(store)), id_(std::move(id)) {}

bool AsyncResult::is_ready_state(const std::string& state) noexcept {
    return state == "SUCCESS" || state == "FAILURE" || state == "REVOKED";
}

Json AsyncResult::get(OptionalTimeout timeout) { return net::run(async::Operations::get_result(*this, timeout)); }

void AsyncResult::refresh() {
    if (!last_ || !is_ready(*last_)) last_ = net::run(store_->fetch(id_, Deadline::at({})));
}

std::string AsyncResult::state() {
    refresh();
    return last_ ? (*last_)["status"].get<std::string>() : "PENDING";
}

std::string AsyncResult::traceback() {
    refresh();
    const Json text = last_ ? last_->value("traceback", Json{}) : Json{};
    return text.is_string() ? text.get<std::string>() : "";
}

void AsyncResult::forget() {
    last_.reset();
    net::run(store_->forget(id_));
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
    if (!result.last_ || !celery::is_ready(*result.last_))
        result.last_ = co_await result.store_->fetch(result.id_, Deadline::after(timeout));
    if (!result.last_ || !celery::is_ready(*result.last_))
        throw celery::ResultTimeout("task " + result.id_ + " has not ended in time");
    if ((*result.last_)["status"] != "SUCCESS") celery::throw_failure(result.id_, *result.last_);
    co_return result.last_->value("result", Json{});
}
