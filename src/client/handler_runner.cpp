// SPDX-License-Identifier: BSD-3-Clause
#include "client/handler_runner.hpp"

#include <kombu/error.hpp>

#include "client/client_access.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace kombu::detail {
namespace {

std::uint64_t count_header(const Json& headers, const char* name) {
    const auto found = headers.find(name);
    return found != headers.end() && found->is_number_integer() && *found > 0 ? found->get<std::uint64_t>() : 0;
}

/// Which call of the handler this is, from 1.
std::uint64_t attempt_of(const Message& message) {
    constexpr const char* deliveries_header = "x-delivery-count";
    if (!ClientAccess::may_have_header(message, attempt_header) &&
        !ClientAccess::may_have_header(message, deliveries_header))
        return 1;
    const Json& headers = message.properties().headers;
    if (!headers.is_object()) return 1;
    // Quorum queues count deliveries, also those that killed their consumer.
    return std::max<std::uint64_t>(count_header(headers, attempt_header), 1) + count_header(headers, deliveries_header);
}

std::chrono::milliseconds delay_of(const FailurePolicy& policy, std::uint64_t attempt) {
    const auto steps = static_cast<double>(attempt - 1);
    const auto delay = std::min(policy.interval_start + steps * policy.interval_step, policy.interval_max);
    return std::chrono::milliseconds{static_cast<std::int64_t>(std::max(delay.count(), 0.0) * 1000)};
}

}  // namespace

/// The end of a handler that has returned before it: settles its message by the result, once. A handler that is
/// destroyed instead, as a coroutine may be, ends too; its message is requeued.
class HandlerRunner::Ending {
public:
    Ending(std::shared_ptr<HandlerRunner> runner, HandlerJob& job, WorkerPool::JobEnd end)
        : runner_(std::move(runner)), job_(job), end_(std::move(end)) {}
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;
    ~Ending() {
        if (!has_ended_) finish();
    }

    void observe(std::shared_ptr<void> observed) { observed_ = std::move(observed); }
    void operator()(const std::exception_ptr& error, std::optional<Outcome> outcome) {
        if (has_ended_) return;
        runner_->settle_by_result(job_.messages.front(), job_.queue, error, outcome);
        finish();
    }

private:
    void finish() {
        has_ended_ = true;
        observed_.reset();
        runner_->on_ended(job_);
        end_();
    }

    const std::shared_ptr<HandlerRunner> runner_;
    HandlerJob& job_;
    WorkerPool::JobEnd end_;
    std::shared_ptr<void> observed_{};
    bool has_ended_ = false;
};

void HandlerRunner::run(HandlerJob& job, std::stop_token stop, const HandlerExecutor& executor,
                        WorkerPool::JobEnd end) noexcept {
    settlements_->count([](ConsumerStats& stats) { ++stats.running; });
    try {
        if (options_.ack == AckMode::on_receipt)
            for (Message& message : job.messages) message.ack();
        if (is_asynchronous()) return start(job, std::move(stop), executor, end);
        if (on_batch) {
            call_batch(job.messages, job.queue);
        } else {
            Message& message = job.messages.front();
            const std::shared_ptr<void> observed =
                options_.observer ? options_.observer->on_delivery(message, job.queue) : nullptr;
            std::exception_ptr error;
            std::optional<Outcome> outcome;
            try {
                outcome = on_message(message, std::move(stop));
            } catch (...) {
                error = std::current_exception();
            }
            settle_by_result(message, job.queue, error, outcome);
        }
    } catch (const std::exception& error) {
        settlements_->log_failure(std::string{"a message could not be settled: "} + error.what());
    } catch (...) {
        settlements_->log_failure("a message could not be settled: an exception that is no std::exception");
    }
    on_ended(job);
    end();
}

/// Throws only before anything depends on the end of the job.
void HandlerRunner::start(HandlerJob& job, std::stop_token stop, const HandlerExecutor& executor,
                          const WorkerPool::JobEnd& end) {
    const auto ending = std::make_shared<Ending>(shared_from_this(), job, end);
    std::exception_ptr error;
    try {
        Message& message = job.messages.front();
        if (options_.observer) ending->observe(options_.observer->on_delivery(message, job.queue));
        on_message_async(message, std::move(stop), executor,
                         [ending](const std::exception_ptr& failure, std::optional<Outcome> outcome) {
                             (*ending)(failure, outcome);
                         });
    } catch (...) {  // it has not begun: the payload cannot be decoded, for one
        error = std::current_exception();
    }
    if (error) (*ending)(error, std::nullopt);
}

void HandlerRunner::on_ended(const HandlerJob& job) noexcept {
    settlements_->count([](ConsumerStats& stats) { --stats.running; });
    handled_ += job.messages.size();
}

void HandlerRunner::settle_by_result(Message& message, const std::string& queue, const std::exception_ptr& error,
                                     std::optional<Outcome> outcome) noexcept {
    try {
        if (error) return settle_by_error(message, queue, error);
        // The handler may have moved from the message.
        if (!ClientAccess::is_valid(message) || message.acknowledged()) return;
        if (outcome)
            settle_by(message, queue, *outcome);
        else if (options_.ack == AckMode::on_success)
            message.ack();
    } catch (const std::exception& failure) {
        settlements_->log_failure(std::string{"a message could not be settled: "} + failure.what());
    } catch (...) {
        settlements_->log_failure("a message could not be settled: an exception that is no std::exception");
    }
}

void HandlerRunner::settle_by_error(Message& message, const std::string& queue, const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Reject&) {
        if (ClientAccess::is_valid(message)) settle_by(message, queue, Outcome::reject);
    } catch (const Requeue&) {
        if (ClientAccess::is_valid(message)) settle_by(message, queue, Outcome::requeue);
    } catch (const std::exception& failure) {
        on_failure(message, queue, failure);
    } catch (...) {
        on_failure(message, queue, std::runtime_error("an exception that is no std::exception"));
    }
}

void HandlerRunner::call_batch(std::span<Message> messages, const std::string& queue) {
    std::exception_ptr error;
    try {
        on_batch(messages);
    } catch (...) {
        error = std::current_exception();
    }
    for (Message& message : messages) settle_by_result(message, queue, error, std::nullopt);
}

void HandlerRunner::on_failure(Message& message, const std::string& queue, const std::exception& error) {
    const bool is_undecodable =
        dynamic_cast<const DecodeError*>(&error) || dynamic_cast<const ContentDisallowed*>(&error);
    settlements_->count([&](ConsumerStats& stats) {
        ++stats.failed;
        stats.last_error = error.what();
    });
    if (!ClientAccess::is_valid(message))
        return settlements_->log_failure("a handler of " + queue + " has failed: " + error.what());
    if (options_.observer) options_.observer->on_failure(message, error);
    if (is_undecodable && on_decode_error) {
        try {
            on_decode_error(message, dynamic_cast<const Error&>(error));
        } catch (const Reject&) {  // which it is below
        } catch (const Requeue&) {
            if (ClientAccess::is_valid(message)) return settle_by(message, queue, Outcome::requeue);
        } catch (const std::exception& again) {
            settlements_->log_failure("on_decode_error of " + queue + " has failed: " + again.what());
        }
        if (ClientAccess::is_valid(message) && !message.acknowledged()) message.reject();
        return;
    }
    const std::string id = message.properties().message_id.value_or("");
    settlements_->log_failure("the handler of " + queue + " has failed" + (id.empty() ? "" : " for the message " + id) +
                              ": " + error.what());
    if (message.acknowledged()) return;
    if (is_undecodable) return message.reject();  // a retry would not help
    switch (options_.on_failure.then) {
        case FailurePolicy::reject: return message.reject();
        case FailurePolicy::requeue: return settle_by(message, queue, Outcome::requeue);
        case FailurePolicy::retry: return retry_or_reject(message, queue);
    }
}

void HandlerRunner::settle_by(Message& message, const std::string& queue, Outcome outcome) {
    if (message.acknowledged()) return;
    switch (outcome) {
        case Outcome::acknowledge: return message.ack();
        case Outcome::reject: return message.reject();
        case Outcome::requeue:
            return settlements_->push_for(message, {.action = LoopSettlement::Action::requeue_slowly});
        case Outcome::retry: return retry_or_reject(message, queue);
    }
}

void HandlerRunner::retry_or_reject(Message& message, const std::string& queue) {
    const std::uint64_t attempt = attempt_of(message);
    if (attempt >= options_.on_failure.max_attempts) return message.reject();
    if (!message.properties().headers.is_object() || ClientAccess::has_header_error(message)) {
        settlements_->log_failure("a message of " + queue +
                                  " is rejected instead of retried: its headers cannot be read");
        return message.reject();
    }
    auto metadata = std::make_shared<MessageMetadata>();
    metadata->routing_key = queue;
    metadata->properties = message.properties();
    Json& headers = metadata->properties.headers;
    headers[attempt_header] = attempt + 1;
    if (!headers.contains(exchange_header)) {
        headers[exchange_header] = message.delivery_info().exchange;
        headers[routing_key_header] = message.delivery_info().routing_key;
    }
    // What would be refused, or have an effect, a second time.
    for (const char* name : {"x-delivery-count", "CC", "BCC"}) headers.erase(name);
    metadata->properties.user_id.reset();
    metadata->properties.expiration.reset();
    settlements_->push_for(message, {.action = LoopSettlement::Action::retry,
                                     .message = {std::move(metadata), message.raw_body()},
                                     .queue = queue,
                                     .delay = delay_of(options_.on_failure, attempt)});
}

}  // namespace kombu::detail
