// SPDX-License-Identifier: BSD-3-Clause
#include "client/consumer_loop_state.hpp"

#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/interruptible.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu::detail {
namespace {

constexpr std::chrono::milliseconds requeue_interval{100};
/// Between two attempts to consume.
constexpr std::chrono::milliseconds shortest_pause{100};
/// The time for the requests of a stop.
constexpr std::chrono::milliseconds stop_timeout{400};
/// The time for sending settlements, which a stop waits for.
constexpr std::chrono::seconds settlement_timeout{5};
/// A loop that has consumed for so long tries again at once when it is lost.
constexpr std::chrono::seconds stable_after{1};
/// How many steps of run() may follow each other without a suspension: without optimisation each nests.
constexpr int max_steps = 50;
/// The longest time for which settlements are collected while handlers follow each other.
constexpr std::chrono::milliseconds collect_time{1};
/// How many jobs wait for the threads at most.
constexpr std::size_t max_queued = 1000;

bool is_hopeless(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const ConnectionError& failure) {
        return !failure.is_retryable();
    } catch (const std::exception&) {
        return true;
    }
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        return failure.what();
    }
}

}  // namespace

/// Marks the loop as running.
class ConsumerLoopState::Running {
public:
    explicit Running(ConsumerLoopState& loop) : loop_(loop) {
        if (loop.is_running_.exchange(true)) throw LeaseError("the consumer loop is running already");
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { loop_.is_running_ = false; }

private:
    ConsumerLoopState& loop_;
};

ConsumerLoopState::ConsumerLoopState(const Connection& broker, std::vector<Queue> queues, ConsumerLoopOptions options)
    : connection_(broker),
      options_(std::move(options)),
      consumer_(std::make_shared<ConsumerState>(ConnectionRef{ClientAccess::state(connection_)}, std::move(queues),
                                                options_.consumer)),
      settlements_(std::make_shared<LoopSettlements>(queue_names())),
      handlers_(std::make_shared<HandlerRunner>(options_, settlements_)) {
    if (options_.threads == 0 || options_.threads > 10'000)
        throw ConfigurationError("threads: must be from 1 to 10000");
    if (options_.on_failure.max_attempts == 0) throw ConfigurationError("max_attempts: must be at least 1");
}

void ConsumerLoopState::set_paused(bool paused) {
    is_paused_ = paused;
    settlements_->wake();
}

std::string ConsumerLoopState::queue_names() const {
    std::string names;
    for (const Queue& queue : consumer_->queues()) names += (names.empty() ? "" : ", ") + queue.name();
    return names;
}

/// A single active consumer, or an exclusive one, gives its messages back before the next one begins.
bool ConsumerLoopState::must_close_to_give_back() const noexcept {
    if (options_.consumer.exclusive) return true;
    return std::ranges::any_of(consumer_->queues(), [](const Queue& queue) {
        const Json& arguments = queue.declare_arguments();
        const auto single = arguments.find("x-single-active-consumer");
        return single != arguments.end() && *single == true;
    });
}

async::Operation<StopReport> ConsumerLoopState::run(std::stop_token stop, HandlerExecutor executor) {
    if (!handlers_->has_handler()) throw ConfigurationError("consumer loop: has no handler");
    const Running running{*this};
    is_consuming_ = has_consumed_ = false;
    failures_ = 0;
    backoff_.reset();
    slow_requeues_.clear();
    collected_.clear();
    batch_due_ = next_check_ = Deadline::never();
    ConnectionState& connection = *ClientAccess::state(connection_);
    const ConnectionState::OperationGuard guard{connection};
    consumer_->set_settler(settlements_);
    const LoopSettlements::WakerRegistration registration{*settlements_, co_await async::this_waker};
    const std::stop_callback on_stop{stop, [this] { settlements_->wake(); }};
    WorkerPool workers{
        options_.threads, handlers_->is_asynchronous() ? 1 : options_.threads,
        [handlers = handlers_, executor](HandlerJob& job, std::stop_token ended, WorkerPool::JobEnd end) {
            handlers->run(job, std::move(ended), executor, std::move(end));
        },
        [settlements = settlements_](bool another_begins) { settlements->on_handler_ended(another_begins); }};
    StopReport report;
    std::exception_ptr hopeless;
    for (int steps = 0; !stop.stop_requested() && !hopeless; ++steps) {
        if (steps % max_steps == max_steps - 1) co_await async::Wait{.until = Deadline::at({})};
        std::exception_ptr error;
        try {
            co_await consume_and_wait(workers, stop);
        } catch (const std::exception&) {
            error = std::current_exception();
        }
        if (!error) continue;
        if (!has_consumed_ && is_hopeless(error))
            hopeless = error;
        else
            co_await wait_after_failure(error, workers, stop);
    }
    co_await finish(workers, report);
    if (hopeless) std::rethrow_exception(hopeless);
    co_return report;
}

async::Operation<> ConsumerLoopState::consume_and_wait(WorkerPool& workers, std::stop_token stop) {
    ConnectionState& connection = *ClientAccess::state(connection_);
    const bool is_paused = is_paused_;
    if (is_paused && is_consuming_) co_await pause_consuming(workers);
    if (!is_paused && !is_consuming_) co_await begin_consuming(stop);
    if (stop.stop_requested()) co_return;
    const bool has_settled = co_await apply_settlements(Deadline::after(settlement_timeout));
    if (is_consuming_) hand_out(workers);
    if (consumer_->has_unsent()) co_await consumer_->flush(Deadline::after(settlement_timeout));
    check_handlers(workers);
    if (stop.stop_requested() || has_work(workers)) co_return;
    Deadline wake_at = next_wake();
    std::optional<LoopSettlements::Collecting> collecting;
    if (has_settled && workers.queued() != 0) {
        collecting.emplace(*settlements_);
        wake_at = std::min(wake_at, Deadline::after(collect_time));
    }
    if (is_consuming_ || connection.connected())
        co_await interruptible(connection.await_events(Deadline::never(), wake_at, true), stop);
    else
        co_await async::Wait{.signal = true, .until = wake_at};
}

async::Operation<> ConsumerLoopState::begin_consuming(std::stop_token stop) {
    ConnectionState& connection = *ClientAccess::state(connection_);
    const bool is_done = co_await interruptible(consumer_->consume(connection.deadline({})), stop);
    if (!is_done) co_return;
    is_consuming_ = has_consumed_ = true;
    const std::string endpoint = connection_.as_uri();
    consumed_ = consumer_->description() + " at " + endpoint;
    settlements_->count([](ConsumerStats& stats) { ++stats.consumes; });
    if (failures_ != 0) {
        const auto lost_for = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - lost_at_);
        log(LogLevel::info, "consuming again from " + consumed_ + " after " + std::to_string(lost_for.count()) +
                                " ms and " + std::to_string(failures_) + (failures_ == 1 ? " attempt" : " attempts"));
    } else {
        log(LogLevel::info, "consuming from " + consumed_);
    }
    failures_ = 0;
    logged_cause_.clear();
    consuming_since_ = Clock::now();
    if (options_.observer) options_.observer->on_consuming(endpoint);
}

async::Operation<> ConsumerLoopState::pause_consuming(WorkerPool& workers) {
    ConnectionState& connection = *ClientAccess::state(connection_);
    std::vector<HandlerJob> jobs = workers.reclaim();
    is_consuming_ = false;
    if (must_close_to_give_back()) co_await drain_handlers(workers, Deadline::never());
    co_await consumer_->cancel(connection.deadline({}));
    StopReport ignored;
    requeue_jobs(std::move(jobs), ignored);
    co_await apply_settlements(connection.deadline({}));
}

void ConsumerLoopState::hand_out(WorkerPool& workers) {
    // Jobs are submitted together: a thread that is woken for each job would preempt this one each time.
    std::vector<HandlerJob> jobs;
    std::exception_ptr error;
    try {
        const std::size_t queued = workers.queued();
        while (queued + jobs.size() < max_queued && collect_job(jobs)) {
        }
    } catch (...) {
        error = std::current_exception();
    }
    if (batch_due_.expired()) add_batch(jobs);
    if (!jobs.empty()) workers.submit(std::move(jobs));
    if (error) std::rethrow_exception(error);
}

bool ConsumerLoopState::collect_job(std::vector<HandlerJob>& jobs) {
    auto message = consumer_->next_message();
    if (!message) return false;
    const std::string& queue = consumer_->last_queue().name();
    ClientAccess::restore_delivery_info(*message, exchange_header, routing_key_header);
    const bool needs_settlement = !message->acknowledged();
    settlements_->count([&](ConsumerStats& stats) {
        ++stats.received;
        if (message->redelivered()) ++stats.redelivered;
        ++(needs_settlement ? stats.in_hand : stats.acknowledged);
    });
    if (handlers_->on_batch) {
        if (!collected_.empty() && collected_queue_ != queue) add_batch(jobs);
        if (collected_.empty()) batch_due_ = Deadline::after(batch.linger);
        collected_queue_ = queue;
        collected_.push_back(std::move(*message));
        if (collected_.size() >= batch.max) add_batch(jobs);
        return true;
    }
    HandlerJob job{.queue = queue};
    if (options_.order_key) {
        try {
            job.key = options_.order_key(*message);
        } catch (const std::exception& error) {
            settlements_->log_failure("order_key has failed: " + std::string{error.what()});
        }
    }
    job.messages.push_back(std::move(*message));
    jobs.push_back(std::move(job));
    return true;
}

void ConsumerLoopState::submit_batch(WorkerPool& workers) {
    std::vector<HandlerJob> jobs;
    add_batch(jobs);
    workers.submit(std::move(jobs));
}

void ConsumerLoopState::add_batch(std::vector<HandlerJob>& jobs) {
    batch_due_ = Deadline::never();
    if (!collected_.empty()) jobs.push_back({.messages = std::exchange(collected_, {}), .queue = collected_queue_});
}

bool ConsumerLoopState::has_work(const WorkerPool& workers) const {
    if (!settlements_->empty() || is_paused_ == is_consuming_) return true;
    return (is_consuming_ && workers.queued() < max_queued && consumer_->has_event()) || next_wake().expired();
}

Deadline ConsumerLoopState::next_wake() const {
    const Deadline requeue = slow_requeues_.empty() ? Deadline::never() : next_requeue_;
    return std::min({requeue, batch_due_, next_check_});
}

void ConsumerLoopState::check_handlers(WorkerPool& workers) {
    if (!options_.handler_timeout.has_value()) return;
    const auto limit = options_.handler_timeout.value();
    for (std::size_t count = workers.stop_overdue(limit); count > 0; --count)
        log(LogLevel::warning,
            "a handler of " + queue_names() + " runs for longer than its handler_timeout; its stop_token is set");
    next_check_ = workers.running() == 0 && workers.queued() == 0
                      ? Deadline::never()
                      : Deadline::after(std::max<std::chrono::nanoseconds>(limit / 4, std::chrono::milliseconds{5}));
}

async::Operation<bool> ConsumerLoopState::apply_settlements(Deadline deadline) {
    std::vector<LoopSettlement> settlements = settlements_->take();
    while (!slow_requeues_.empty() && next_requeue_.expired()) {
        slow_requeues_.front().action = LoopSettlement::Action::requeue;
        settlements.push_back(std::move(slow_requeues_.front()));
        slow_requeues_.pop_front();
        next_requeue_ = Deadline::after(requeue_interval);
    }
    if (settlements.empty()) co_return false;
    for (std::size_t i = 0; i < settlements.size(); ++i) {
        std::exception_ptr error;
        try {
            co_await apply(settlements[i], deadline);
        } catch (const std::exception&) {
            error = std::current_exception();
        }
        if (!error) continue;
        // The others are not lost with it.
        settlements.erase(settlements.begin(), settlements.begin() + static_cast<std::ptrdiff_t>(i));
        settlements_->put_back(std::move(settlements));
        std::rethrow_exception(error);
    }
    co_await consumer_->flush(deadline);
    co_return true;
}

async::Operation<> ConsumerLoopState::apply(LoopSettlement& settlement, Deadline deadline) {
    const bool is_late = settlement.channel != consumer_->open_channel() || !settlement.channel->is_open();
    std::uint64_t ConsumerStats::*counter = &ConsumerStats::late;
    if (!is_late) {
        switch (settlement.action) {
            case LoopSettlement::Action::acknowledge:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::acknowledge);
                counter = &ConsumerStats::acknowledged;
                break;
            case LoopSettlement::Action::reject:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::reject);
                counter = &ConsumerStats::rejected;
                break;
            case LoopSettlement::Action::requeue:
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::requeue);
                counter = &ConsumerStats::requeued;
                break;
            case LoopSettlement::Action::requeue_slowly:
                slow_requeues_.push_back(std::move(settlement));
                next_requeue_ = std::max(next_requeue_, Deadline::at(Clock::now()));
                co_return;
            case LoopSettlement::Action::retry:
                // First this: a crash in between delivers the message twice, and does not lose it.
                if (!co_await publish_retry(settlement, deadline)) {
                    slow_requeues_.push_back(std::move(settlement));
                    co_return;
                }
                if (!settlement.channel->is_open()) break;
                settlement.channel->settle_later(settlement.delivery_tag, async::Settlement::acknowledge);
                counter = &ConsumerStats::retried;
                break;
        }
    }
    settlements_->count([&](ConsumerStats& stats) {
        ++(stats.*counter);
        --stats.in_hand;
    });
}

/// Publishes a message for later, on a channel of its own: what the broker refuses there costs no consumer. Returns
/// whether it is stored.
async::Operation<bool> ConsumerLoopState::publish_retry(LoopSettlement& settlement, Deadline deadline) {
    try {
        const auto channel = co_await ClientAccess::state(connection_)->default_channel(deadline);
        co_await channel->publish_later(settlement.message, settlement.queue, settlement.delay, deadline);
        co_return true;
    } catch (const ConnectionError&) {
        throw;
    } catch (const std::exception& error) {
        settlements_->log_failure("a message of " + settlement.queue +
                                  " cannot be retried, and is requeued: " + error.what());
    }
    co_return false;
}

void ConsumerLoopState::on_lost(std::exception_ptr error) {
    if (!is_consuming_) return;
    is_consuming_ = false;
    lost_at_ = Clock::now();
    log(LogLevel::warning, "no longer consuming from " + consumed_ + ": " + text_of(error));
    if (!options_.observer) return;
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        options_.observer->on_lost(failure);
    }
}

/// Attempts while the broker is down are counted only; what it refuses is said, once for each cause.
void ConsumerLoopState::log_failed_attempt(const std::exception_ptr& error) {
    const std::string cause = text_of(error);
    if ((failures_ != 0 && !is_hopeless(error)) || cause == logged_cause_) return;
    log(LogLevel::warning, "cannot consume from " + queue_names() + " at " + connection_.as_uri() + ": " + cause);
    logged_cause_ = cause;
}

async::Operation<> ConsumerLoopState::wait_after_failure(std::exception_ptr error, WorkerPool& workers,
                                                         std::stop_token stop) {
    settlements_->count([&](ConsumerStats& stats) { stats.last_error = text_of(error); });
    const bool was_consuming = is_consuming_;
    on_lost(error);
    // What was received and not begun is the broker's again, unless only one queue was lost.
    const bool channel_works = consumer_->open_channel() && consumer_->open_channel()->is_open();
    if (!channel_works) {
        for (HandlerJob& job : workers.reclaim())
            for (Message& message : job.messages) message.requeue();
        for (Message& message : collected_) message.requeue();
        collected_.clear();
        batch_due_ = Deadline::never();
    }
    if (was_consuming && Clock::now() - consuming_since_ > stable_after) {
        backoff_.reset();
        failures_ = 1;  // the first attempt follows at once
        co_return;
    }
    if (!was_consuming) {
        if (failures_ == 0) lost_at_ = Clock::now();
        log_failed_attempt(error);
    }
    ++failures_;
    // A channel that was refused leaves nothing behind.
    if (!channel_works) consumer_->close();
    if (!backoff_) {
        RetryPolicy policy = options_.reconnect;
        policy.max_retries = std::nullopt;
        policy.interval_start = std::max<std::chrono::duration<double>>(policy.interval_start, shortest_pause);
        backoff_.emplace(policy, Deadline::never(), false);
    }
    const std::chrono::milliseconds pause = backoff_->next().value_or(std::chrono::milliseconds{1000});
    settlements_->count([](ConsumerStats& stats) { ++stats.failed_attempts; });
    if (options_.observer) {
        try {
            std::rethrow_exception(error);
        } catch (const std::exception& failure) {
            options_.observer->on_attempt_failed(failure, pause);
        }
    }
    const Deadline until = Deadline::after(pause);
    while (!until.expired() && !stop.stop_requested()) {
        co_await async::Wait{.signal = true, .until = until};
        try {
            co_await apply_settlements(Deadline::after(settlement_timeout));  // unless all is lost, some still count
        } catch (const std::exception& failure) {
            settlements_->log_failure(std::string{"messages cannot be settled: "} + failure.what());
            break;
        }
        check_handlers(workers);
    }
}

void ConsumerLoopState::requeue_jobs(std::vector<HandlerJob> jobs, StopReport& report) {
    // Those of a batch came last.
    if (!collected_.empty()) jobs.push_back({.messages = std::exchange(collected_, {}), .queue = collected_queue_});
    batch_due_ = Deadline::never();
    std::vector<std::uint64_t> tags;
    for (HandlerJob& job : jobs) {
        for (Message& message : job.messages) {
            ++report.requeued;
            if (message.acknowledged()) continue;
            const bool is_late = ClientAccess::channel_of(message).channel() != consumer_->open_channel() ||
                                 !consumer_->open_channel()->is_open();
            if (is_late) {
                message.requeue();
                continue;
            }
            tags.push_back(message.delivery_tag());
            ClientAccess::mark_settled(message, async::Settlement::requeue);
        }
    }
    if (tags.empty()) return;
    consumer_->open_channel()->requeue_later(tags);
    settlements_->count([&](ConsumerStats& stats) {
        stats.requeued += tags.size();
        stats.in_hand -= tags.size();
    });
}

async::Operation<> ConsumerLoopState::give_back(WorkerPool& workers, StopReport& report) {
    const Deadline deadline = Deadline::after(stop_timeout);
    if (options_.drain == Drain::prefetched) {
        co_await consumer_->cancel_and_keep(deadline);
        while (consumer_->has_event() || !collected_.empty()) {
            hand_out(workers);
            submit_batch(workers);
            if (workers.queued() >= max_queued) co_return;
        }
    } else if (!must_close_to_give_back()) {
        // In this order: on Redis what is requeued last is served first.
        std::vector<HandlerJob> jobs = workers.reclaim();
        std::exception_ptr error;
        try {
            co_await consumer_->cancel(deadline);
        } catch (const std::exception&) {
            error = std::current_exception();
        }
        requeue_jobs(std::move(jobs), report);
        if (error) std::rethrow_exception(error);
        co_await consumer_->flush(deadline);
        co_await apply_settlements(deadline);
    }
}

async::Operation<> ConsumerLoopState::drain_handlers(WorkerPool& workers, Deadline until) {
    while ((workers.running() != 0 || workers.queued() != 0) && !until.expired()) {
        std::exception_ptr error;
        try {
            co_await apply_settlements(Deadline::after(stop_timeout));
        } catch (const std::exception&) {
            error = std::current_exception();
        }
        if (error) consumer_->close();
        check_handlers(workers);
        if (workers.running() == 0 && workers.queued() == 0) break;
        if (settlements_->empty()) co_await async::Wait{.signal = true, .until = std::min(until, next_wake())};
    }
}

async::Operation<> ConsumerLoopState::finish(WorkerPool& workers, StopReport& report) {
    const Deadline until = Deadline::after(options_.drain_timeout);
    const bool keeps_jobs = options_.drain == Drain::prefetched;
    if (!keeps_jobs && must_close_to_give_back()) requeue_jobs(workers.reclaim(), report);
    std::exception_ptr error;
    if (is_consuming_) {
        try {
            co_await give_back(workers, report);
        } catch (const std::exception&) {
            error = std::current_exception();
        }
    }
    is_consuming_ = false;
    if (error) consumer_->close();
    if (!keeps_jobs || error) requeue_jobs(workers.reclaim(), report);
    co_await drain_handlers(workers, until);
    if (workers.running() != 0 || workers.queued() != 0) {
        report.in_time = false;
        requeue_jobs(workers.reclaim(), report);
        report.abandoned = workers.running_messages();
        workers.request_stop();
        consumer_->close();  // the broker delivers their messages again
        co_await drain_handlers(workers, Deadline::never());
    }
    for (LoopSettlement& each : slow_requeues_) {
        each.action = LoopSettlement::Action::requeue;
        settlements_->push(std::move(each));
    }
    slow_requeues_.clear();
    try {
        const Deadline last = Deadline::after(stop_timeout);
        co_await apply_settlements(last);
        co_await consumer_->close_and_wait(last);
    } catch (const std::exception&) {
        // The broker is gone, and delivers again what was not acknowledged.
    }
    consumer_->close();
    ClientAccess::state(connection_)->abandon();
    settlements_->drop_late();
    report.handled = handlers_->take_handled() - report.abandoned;
    log(LogLevel::info, "stopped consuming from " + queue_names() + ": " + std::to_string(report.handled) +
                            " handled, " + std::to_string(report.requeued) + " given back, " +
                            std::to_string(report.abandoned) + " abandoned");
}

}  // namespace kombu::detail
