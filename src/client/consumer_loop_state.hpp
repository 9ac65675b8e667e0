// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/consumer_state.hpp"
#include "client/handler_runner.hpp"
#include "client/loop_settlements.hpp"
#include "client/worker_pool.hpp"
#include "transport/backoff.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace kombu::detail {

/// The implementation of ConsumerLoop. run() is one operation: it alone uses the connection. Handlers run on the
/// threads of a WorkerPool, and leave their settlements in a list that run() empties.
class ConsumerLoopState {
public:
    ConsumerLoopState(const Connection& broker, std::vector<Queue> queues, ConsumerLoopOptions options);

    /// `executor`: of handlers that are coroutines.
    async::Operation<StopReport> run(std::stop_token stop, HandlerExecutor executor);
    void set_paused(bool paused);
    ConsumerStats stats() const { return settlements_->stats(); }

    HandlerRunner& handlers() noexcept { return *handlers_; }
    BatchOptions batch{};

private:
    class Running;

    async::Operation<> consume_and_wait(WorkerPool& workers, std::stop_token stop);
    async::Operation<> begin_consuming(std::stop_token stop);
    async::Operation<> pause_consuming(WorkerPool& workers);
    void hand_out(WorkerPool& workers);
    /// Adds a job for the next message, or for the batch that it fills. Returns whether there was a message.
    bool collect_job(std::vector<HandlerJob>& jobs);
    void add_batch(std::vector<HandlerJob>& jobs);
    void submit_batch(WorkerPool& workers);
    /// Returns whether there were any.
    async::Operation<bool> apply_settlements(Deadline deadline);
    async::Operation<> apply(LoopSettlement& settlement, Deadline deadline);
    async::Operation<bool> publish_retry(LoopSettlement& settlement, Deadline deadline);
    async::Operation<> wait_after_failure(std::exception_ptr error, WorkerPool& workers, std::stop_token stop);
    async::Operation<> finish(WorkerPool& workers, StopReport& report);
    async::Operation<> give_back(WorkerPool& workers, StopReport& report);
    async::Operation<> drain_handlers(WorkerPool& workers, Deadline until);
    void requeue_jobs(std::vector<HandlerJob> jobs, StopReport& report);
    void on_lost(std::exception_ptr error);
    void log_failed_attempt(const std::exception_ptr& error);
    void check_handlers(WorkerPool& workers);
    Deadline next_wake() const;
    bool has_work(const WorkerPool& workers) const;
    bool must_close_to_give_back() const noexcept;
    std::string queue_names() const;

    Connection connection_;
    const ConsumerLoopOptions options_;
    const std::shared_ptr<ConsumerState> consumer_;

    const std::shared_ptr<LoopSettlements> settlements_;
    const std::shared_ptr<HandlerRunner> handlers_;
    std::atomic<bool> is_paused_{false};

    std::atomic<bool> is_running_{false};
    bool is_consuming_ = false, has_consumed_ = false;
    std::string consumed_{};  // queues, tags and endpoint, of the latest time
    std::deque<LoopSettlement> slow_requeues_{};
    Deadline next_requeue_ = Deadline::at({});
    std::vector<Message> collected_{};  // of a batch
    std::string collected_queue_{};
    Deadline batch_due_ = Deadline::never();
    Deadline next_check_ = Deadline::never();  // of the handlers' time
    unsigned failures_ = 0;                    // attempts to consume since it last worked
    std::string logged_cause_{};  // of a failed attempt since then
    std::optional<Backoff> backoff_{};
    Clock::time_point lost_at_{}, consuming_since_{};
};

}  // namespace kombu::detail
