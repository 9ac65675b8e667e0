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

/// Tasks for Celery workers: messages of Celery's task protocol 2, which Celery 4 and 5 read. A message that would
/// end a worker cannot be made: one without an id, of another content type, or whose body is not a list of arguments,
/// keyword arguments and embedded options.
namespace kombu::celery {

/// The options of a task. Everything has a default; the names are Celery's.
struct TaskOptions {
    /// The queue of the workers, reached through the default exchange.
    std::string queue = "celery";
    /// The id of the task. Not set: a random UUID.
    std::optional<std::string> task_id{};
    /// The earliest time at which a worker starts the task.
    std::optional<std::chrono::system_clock::time_point> eta{};
    /// The delay before the task may start, in seconds from now. Excludes `eta`.
    std::optional<std::chrono::duration<double>> countdown{};
    /// The expiry: workers discard the task after this time point, or this long after sending. The message expires
    /// then too.
    std::variant<std::monostate, std::chrono::duration<double>, std::chrono::system_clock::time_point> expires{};
    /// The queue that the result goes to, for workers with the `rpc://` result backend.
    std::optional<std::string> reply_to{};
    /// The priority of the message, 0 to 255. On Redis the lower number is served first.
    int priority = 0;
    /// The worker raises an exception in a task that runs longer, in seconds (soft limit).
    std::optional<std::chrono::duration<double>> soft_time_limit{};
    /// The worker ends a task that runs longer, in seconds (hard limit).
    std::optional<std::chrono::duration<double>> time_limit{};
    /// The worker does not store the result.
    bool ignore_result = false;
    /// The id of the task that this one is part of.
    std::optional<std::string> parent_id{};
    /// The id of the first task of the workflow. Not set: that of this task.
    std::optional<std::string> root_id{};
    /// The id of the group that the task belongs to.
    std::optional<std::string> group_id{};
    /// Another name of the task in the logs of workers.
    std::optional<std::string> shadow{};
    /// Additional headers. They must not have the names of headers that mean something to workers.
    Json headers = Json::object();
    /// A name of kombu/compression.hpp. Not set: none.
    std::optional<std::string> compression{};
    /// Declares the queue as workers do (durable, bound to the direct exchange of its name) once per connection. When
    /// false, a task for a queue that does not exist is Unroutable; on Redis every queue exists.
    bool declare = true;
    /// As in PublishOptions.
    bool retry = false;
    /// The policy for `retry`.
    RetryPolicy retry_policy{};
    /// As PublishOptions::timeout.
    OptionalTimeout timeout{};
};

/// Sends a task.
/// \param producer  publishes the message
/// \param name  the name of the task as registered by the workers
/// \param args  the arguments, a JSON array
/// \param kwargs  the keyword arguments, a JSON object
/// \param options  see TaskOptions
/// \return the id of the task, by which its result is known
/// \throws ConfigurationError  before anything is sent, when the name is empty, `args` is not an array, `kwargs` is
///   not an object, or an option is invalid
/// \throws EncodeError  before anything is sent, when the arguments cannot be written as JSON
/// \throws NotEquivalentError  when the queue exists with other properties than Celery's; `.declare = false` avoids
///   it
/// \throws Error  otherwise as Producer::publish does
/// \par Thread safety
/// As for the producer.
KOMBU_EXPORT std::string send_task(Producer& producer, std::string_view name, const Json& args = Json::array(),
                                   const Json& kwargs = Json::object(), const TaskOptions& options = {});
/// \overload
inline std::string send_task(const Lease<Producer>& producer, std::string_view name, const Json& args = Json::array(),
                             const Json& kwargs = Json::object(), const TaskOptions& options = {}) {
    return send_task(*producer, name, args, kwargs, options);
}

/// Asynchronous send_task(), by kombu/asio.hpp. Completes with (error, id).
template <class Token>
auto async_send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                     const TaskOptions& options, Token&& token);

}  // namespace kombu::celery
