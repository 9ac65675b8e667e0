// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/json.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/producer.hpp>
#include <kombu/retry.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// Tasks for Celery workers: messages of Celery's task protocol 2, which Celery 4 and 5 read. A message that would
/// end a worker cannot be made: one without an id, of another content type, or whose body is not a list of arguments,
/// keyword arguments and embedded options.
namespace kombu::celery {

/// A task that a worker sends when another one has ended; Celery calls it a signature.
struct Signature {
    /// The name of the task as registered by the workers.
    std::string task{};
    /// The arguments, a JSON array. The result of the task before comes in front of them, unless the signature is
    /// immutable.
    Json args = Json::array();
    /// The keyword arguments, a JSON object.
    Json kwargs = Json::object();
    /// Do not add the result of the task before.
    bool immutable = false;
    /// The queue of its workers. Not set: as the worker that sends it routes it.
    std::optional<std::string> queue{};
    /// The id of the task. Not set: a random UUID.
    std::optional<std::string> task_id{};
    /// As in TaskOptions. Not set: that of the task that it follows.
    std::optional<std::string> reply_to{};
    /// The priority of the message. Not set: that of the worker.
    std::optional<int> priority{};
    /// The delay before the task may start, in seconds.
    std::optional<std::chrono::duration<double>> countdown{};
    /// What follows this task; see TaskOptions.
    std::vector<Signature> link{};
    /// What follows when this task has failed; see TaskOptions.
    std::vector<Signature> link_error{};
};

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
    /// The tasks that the worker sends, all of them, when this one has succeeded. Each gets its result.
    std::vector<Signature> link{};
    /// The tasks that the worker sends when this one has failed. A task that takes more than one argument is called
    /// with the request, the exception and the traceback by the worker itself; others get the id.
    std::vector<Signature> link_error{};
    /// The tasks that follow one after the other, each with the result of the one before.
    std::vector<Signature> chain{};
    /// How often the task was tried before, for a message that takes the place of another.
    unsigned retries = 0;
    /// The place of the task in its group.
    std::optional<std::uint32_t> group_index{};
    /// The exchange to publish to instead of the default one. `declare` declares it then, not the queue, and the task
    /// is Unroutable when no queue matches.
    std::optional<Exchange> exchange{};
    /// The routing key for `exchange`. Not set: `queue`.
    std::optional<std::string> routing_key{};
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

/// The ids of tasks that were sent together.
struct SentTasks {
    /// The id of the group; of a chain the id of the last task, whose result is that of the chain.
    std::string id{};
    /// The ids of the tasks, in their order.
    std::vector<std::string> task_ids{};
};

/// Sends tasks that are executed one after the other: each gets the result of the one before as its first argument. The
/// workers send all but the first.
/// \param producer  publishes the first task
/// \param tasks  at least one
/// \param options  of the first task; `queue` is also that of the others without one of their own. `chain` must be
///   empty.
/// \throws Error  as send_task()
KOMBU_EXPORT SentTasks send_chain(Producer& producer, const std::vector<Signature>& tasks,
                                  const TaskOptions& options = {});
/// \overload
inline SentTasks send_chain(const Lease<Producer>& producer, const std::vector<Signature>& tasks,
                            const TaskOptions& options = {}) {
    return send_chain(*producer, tasks, options);
}

/// Sends tasks that are executed independently of each other, with one group id. They are checked before the first one
/// is sent, and sent one after the other: an error leaves those before it sent.
/// \param producer  publishes the tasks
/// \param tasks  at least one
/// \param options  of all of them, as far as a signature has none of its own. `task_id`, `group_id`, `link`,
///   `link_error` and `chain` must not be set.
/// \throws Error  as send_task()
KOMBU_EXPORT SentTasks send_group(Producer& producer, const std::vector<Signature>& tasks,
                                  const TaskOptions& options = {});
/// \overload
inline SentTasks send_group(const Lease<Producer>& producer, const std::vector<Signature>& tasks,
                            const TaskOptions& options = {}) {
    return send_group(*producer, tasks, options);
}

/// Asynchronous send_task(), by kombu/asio.hpp. Completes with (error, id).
template <class Token>
auto async_send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                     const TaskOptions& options, Token&& token);

}  // namespace kombu::celery
