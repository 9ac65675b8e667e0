// SPDX-License-Identifier: BSD-3-Clause
#include "client/consumer_loop_state.hpp"

#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/interruptible.hpp"
#include "net/blocking_driver.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kombu::detail {
namespace {

/// The time for the requests of a stop.
constexpr std::chrono::milliseconds stop_timeout{400};
/// The time for sending settlements, which a stop waits for.
constexpr std::chrono::seconds settlement_timeout{5};
/// How many steps of run() may follow each other without a suspension: without optimisation each nests.
constexpr int max_steps = 50;
/// The longest time for which settlements are collected while handlers follow each other.
constexpr std::chrono::milliseconds collect_time{1};
/// How many jobs wait for the threads at most.
constexpr std::size_t max_queued = 1000;

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
      handlers_(std::make_shared<HandlerRunner>(options_, settlements_)),
      collector_(consumer_, settlements_, options_.order_key),
      sender_(ClientAccess::state(connection_), consumer_, settlements_),
      recovery_(options_, queue_names(), settlements_) {
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
    recovery_.reset();
    sender_.clear();
    collector_.clear();
    next_check_ = Deadline::never();
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
    const bool has_settled = co_await sender_.send(Deadline::after(settlement_timeout));
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
    recovery_.on_consuming(consumer_->description(), connection_.as_uri());
}

async::Operation<> ConsumerLoopState::pause_consuming(WorkerPool& workers) {
    ConnectionState& connection = *ClientAccess::state(connection_);
    std::vector<HandlerJob> jobs = workers.reclaim();
    is_consuming_ = false;
    if (must_close_to_give_back()) co_await drain_handlers(workers, Deadline::never());
    co_await consumer_->cancel(connection.deadline({}));
    requeue(std::move(jobs));
    co_await sender_.send(connection.deadline({}));
}

void ConsumerLoopState::hand_out(WorkerPool& workers) {
    // Jobs are submitted together: a thread that is woken for each job would preempt this one each time.
    std::vector<HandlerJob> jobs;
    std::exception_ptr error;
    try {
        const std::size_t queued = workers.queued();
        while (queued + jobs.size() < max_queued && collector_.collect(jobs)) {
        }
    } catch (...) {
        error = std::current_exception();
    }
    if (collector_.batch_due().expired()) collector_.end_batch(jobs);
    if (!jobs.empty()) workers.submit(std::move(jobs));
    if (error) std::rethrow_exception(error);
}

bool ConsumerLoopState::has_work(const WorkerPool& workers) const {
    if (!settlements_->empty() || is_paused_ == is_consuming_) return true;
    return (is_consuming_ && workers.queued() < max_queued && consumer_->has_event()) || next_wake().expired();
}

Deadline ConsumerLoopState::next_wake() const {
    return std::min({sender_.next_due(), collector_.batch_due(), next_check_});
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

async::Operation<> ConsumerLoopState::wait_after_failure(std::exception_ptr error, WorkerPool& workers,
                                                         std::stop_token stop) {
    // What was received and not begun is the broker's again, unless only one queue was lost.
    const bool channel_works = consumer_->open_channel() && consumer_->open_channel()->is_open();
    if (!channel_works) {
        std::vector<HandlerJob> jobs = workers.reclaim();
        collector_.end_batch(jobs);
        for (HandlerJob& job : jobs)
            for (Message& message : job.messages) message.requeue();
    }
    const auto pause = std::exchange(is_consuming_, false) ? recovery_.on_lost(error)
                                                           : recovery_.on_failed_attempt(error, connection_.as_uri());
    if (!pause) co_return;
    // A channel that was refused leaves nothing behind.
    if (!channel_works) consumer_->close();
    const Deadline until = Deadline::after(*pause);
    while (!until.expired() && !stop.stop_requested()) {
        co_await async::Wait{.signal = true, .until = until};
        try {
            co_await sender_.send(Deadline::after(settlement_timeout));  // unless all is lost, some still count
        } catch (const std::exception& failure) {
            settlements_->log_failure(std::string{"messages cannot be settled: "} + failure.what());
            break;
        }
        check_handlers(workers);
    }
}

std::uint64_t ConsumerLoopState::requeue(std::vector<HandlerJob> jobs) {
    collector_.end_batch(jobs);  // the messages of a batch came last
    return sender_.requeue(std::move(jobs));
}

async::Operation<> ConsumerLoopState::give_back(WorkerPool& workers, StopReport& report) {
    const Deadline deadline = Deadline::after(stop_timeout);
    if (options_.drain == Drain::prefetched) {
        co_await consumer_->cancel_and_keep(deadline);
        while (consumer_->has_event() || collector_.has_batch()) {
            hand_out(workers);
            std::vector<HandlerJob> last;
            collector_.end_batch(last);
            workers.submit(std::move(last));
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
        report.requeued += requeue(std::move(jobs));
        if (error) std::rethrow_exception(error);
        co_await consumer_->flush(deadline);
        co_await sender_.send(deadline);
    }
}

async::Operation<> ConsumerLoopState::drain_handlers(WorkerPool& workers, Deadline until) {
    while ((workers.running() != 0 || workers.queued() != 0) && !until.expired()) {
        std::exception_ptr error;
        try {
            co_await sender_.send(Deadline::after(stop_timeout));
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
    if (!keeps_jobs && must_close_to_give_back()) report.requeued += requeue(workers.reclaim());
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
    if (!keeps_jobs || error) report.requeued += requeue(workers.reclaim());
    co_await drain_handlers(workers, until);
    if (workers.running() != 0 || workers.queued() != 0) {
        report.in_time = false;
        report.requeued += requeue(workers.reclaim());
        report.abandoned = workers.running_messages();
        workers.request_stop();
        consumer_->close();  // the broker delivers their messages again
        co_await drain_handlers(workers, Deadline::never());
    }
    sender_.release_slow_requeues();
    try {
        const Deadline last = Deadline::after(stop_timeout);
        co_await sender_.send(last);
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
