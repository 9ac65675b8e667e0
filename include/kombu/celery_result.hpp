// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/connection.hpp>
#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/json.hpp>

#include <memory>
#include <optional>
#include <string>

/// The results of tasks that were sent to Celery workers.
namespace kombu::celery {

/// A task has failed, or was revoked.
class KOMBU_EXPORT TaskFailure : public Error {
public:
    /// `type` is the name of the exception in Python.
    TaskFailure(std::string task_id, std::string state, std::string type, const std::string& message,
                std::string traceback)
        : Error("task " + task_id + ": " + type + ": " + message),
          task_id_(std::move(task_id)),
          state_(std::move(state)),
          type_(std::move(type)),
          traceback_(std::move(traceback)) {}

    /// The task that has failed.
    const std::string& task_id() const noexcept { return task_id_; }
    /// "FAILURE" or "REVOKED".
    const std::string& state() const noexcept { return state_; }
    /// The type of the Python exception, such as "ValueError".
    const std::string& type() const noexcept { return type_; }
    /// The Python traceback as text; empty when there is none.
    const std::string& traceback() const noexcept { return traceback_; }

private:
    std::string task_id_, state_, type_, traceback_;
};

/// A task has not ended in time.
class KOMBU_EXPORT ResultTimeout : public Error {
public:
    using Error::Error;
    bool is_retryable() const noexcept override { return true; }
};

class ResultStore;
class ResultBackend;

/// The result of one task.
///
/// \par Thread safety
/// One thread at a time may use a backend and its results; a second one gets LeaseError.
/// \par Lifetime
/// It may outlive its backend, and an asynchronous get() may outlive it.
/// \par Kombu
/// `celery.result.AsyncResult`
class KOMBU_EXPORT AsyncResult {
public:
    /// The id of the task.
    const std::string& id() const noexcept;

    /// Waits until the task has ended, and returns its result.
    /// \param timeout  the time to wait; not set: no bound
    /// \throws TaskFailure  when the task has failed or was revoked
    /// \throws ResultTimeout  when it has not ended in time
    /// \throws DecodeError  when the stored result is not one of Celery's
    /// \throws ConnectionError  when the backend cannot be reached; a later call connects again
    Json get(OptionalTimeout timeout = {});
    /// Asynchronous get(), by kombu/asio.hpp. Completes with (error, Json).
    template <class Token>
    auto async_get(OptionalTimeout timeout, Token&& token);

    /// "PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE" or "REVOKED", or a state of the application's own. A task
    /// that the backend does not know is pending. Asks the backend until the task has ended.
    std::string state();
    /// Whether the task has ended.
    bool ready() { return is_ready_state(state()); }
    /// Whether the task has ended with a result.
    bool successful() { return state() == "SUCCESS"; }
    /// Whether the task has ended with an exception.
    bool failed() { return state() == "FAILURE"; }
    /// The Python traceback of a task that has failed, as text; empty for others.
    std::string traceback();
    /// Removes the result from the backend. The task is then pending for everyone.
    void forget();

    /// Whether a task in this state has ended.
    static bool is_ready_state(const std::string& state) noexcept;

private:
    friend class ResultBackend;
    friend struct async::Operations;
    AsyncResult(std::shared_ptr<ResultStore> store, std::string id);
    void refresh();

    struct State;
    std::shared_ptr<State> state_;
};

/// Where workers leave the results of tasks.
class KOMBU_EXPORT ResultBackend {
public:
    /// The backend `redis://...` of the workers. The connection is to the same Redis and database; its option
    /// `global_keyprefix` is that of the backend. A copy of the connection is used.
    /// \throws ConfigurationError  when it is no connection to Redis
    static ResultBackend redis(const Connection& connection);
    /// The backend `rpc://` of the workers: results come as messages. Declares a queue of its own on the broker, which
    /// is deleted with this object's connection; reply_to() names it for TaskOptions. Results that come while the
    /// connection is lost are lost too. Up to 8,192 results that nobody has got are kept; the oldest go first.
    static ResultBackend rpc(const Connection& connection);

    /// The result of a task.
    AsyncResult result(std::string id) const;
    /// The value for TaskOptions::reply_to; not set for Redis.
    const std::optional<std::string>& reply_to() const noexcept;

private:
    explicit ResultBackend(std::shared_ptr<ResultStore> store);
    std::shared_ptr<ResultStore> store_;
};

}  // namespace kombu::celery
