// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/producer.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

/// Tasks for Celery workers: messages of Celery's task protocol 2, which Celery 4 and 5 read. A message that would kill
/// a worker (one without an id, of another content type, or whose body is not arguments, named arguments and what goes
/// with them) cannot be made.
namespace kombu::celery {

/// How to send a task. Everything has a default; the names are Celery's.
struct TaskOptions {
    /// The queue, on the default exchange.
    std::string queue = "celery";
    /// Not set: a random UUID.
    std::optional<std::string> task_id{};
    /// Not to be begun before.
    std::optional<std::chrono::system_clock::time_point> eta{};
    /// The same, from now on. Not together with eta.
    std::optional<std::chrono::duration<double>> countdown{};
    /// Not to be begun after: a time, or so long from now. The message expires then too.
    std::variant<std::monostate, std::chrono::duration<double>, std::chrono::system_clock::time_point> expires{};
    /// The queue that the result goes to, for workers with the `rpc://` result backend.
    std::optional<std::string> reply_to{};
    /// On Redis the lower number goes first.
    int priority = 0;
    /// The worker ends a task that takes longer: by an exception in the task (soft), by its end (hard).
    std::optional<std::chrono::duration<double>> soft_time_limit{};
    std::optional<std::chrono::duration<double>> time_limit{};
    bool ignore_result = false;
    /// The task that this one is part of, and the first of all of them. Not set: this one.
    std::optional<std::string> parent_id{};
    std::optional<std::string> root_id{};
    std::optional<std::string> group_id{};
    /// Called something else in logs.
    std::optional<std::string> shadow{};
    /// Further headers. They cannot replace those of the protocol.
    Json headers = Json::object();
    std::optional<std::string> compression{};
    /// Declares the queue as workers do, durable, bound to the direct exchange of its name, once per connection.
    /// Without it a task for a queue that is not there is Unroutable (on Redis every queue is there).
    bool declare = true;
    /// As in PublishOptions.
    bool retry = false;
    RetryPolicy retry_policy{};
    OptionalTimeout timeout{};
};

/// Sends a task and returns its id, by which its result is known.
///
/// Throws ConfigurationError, before anything is sent, when the name is empty, `args` is no array or `kwargs` no
/// object, or an option is out of range; EncodeError when they cannot be written as JSON; NotEquivalentError when the
/// queue is there with other properties than Celery gives it (send with `.declare = false` then); else what
/// Producer::publish throws. Threads: as the producer.
KOMBU_EXPORT std::string send_task(Producer& producer, std::string_view name, const Json& args = Json::array(),
                                   const Json& kwargs = Json::object(), const TaskOptions& options = {});
inline std::string send_task(const Lease<Producer>& producer, std::string_view name, const Json& args = Json::array(),
                             const Json& kwargs = Json::object(), const TaskOptions& options = {}) {
    return send_task(*producer, name, args, kwargs, options);
}

/// send_task(), by kombu/asio.hpp.
template <class Token>
auto async_send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                     const TaskOptions& options, Token&& token);

}  // namespace kombu::celery
