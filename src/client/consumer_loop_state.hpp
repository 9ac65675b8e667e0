// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/consumer_state.hpp"
#include "client/handler_runner.hpp"
#include "client/job_collector.hpp"
#include "client/loop_recovery.hpp"
#include "client/loop_settlements.hpp"
#include "client/settlement_sender.hpp"
#include "client/worker_pool.hpp"

#include <atomic>
#include <cstdint>
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
    void set_batch(std::optional<BatchOptions> batch) { collector_.batch = batch; }

private:
    class Running;

    async::Operation<> consume_and_wait(WorkerPool& workers, std::stop_token stop);
    async::Operation<> begin_consuming(std::stop_token stop);
    async::Operation<> pause_consuming(WorkerPool& workers);
    void hand_out(WorkerPool& workers);
    async::Operation<> wait_after_failure(std::exception_ptr error, WorkerPool& workers, std::stop_token stop);
    async::Operation<> finish(WorkerPool& workers, StopReport& report);
    async::Operation<> give_back(WorkerPool& workers, StopReport& report);
    async::Operation<> drain_handlers(WorkerPool& workers, Deadline until);
    /// Requeues what has not begun: these jobs, and the batch that is being collected. Returns the number of messages.
    std::uint64_t requeue(std::vector<HandlerJob> jobs);
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
    JobCollector collector_;
    SettlementSender sender_;
    LoopRecovery recovery_;
    std::atomic<bool> is_paused_{false};

    std::atomic<bool> is_running_{false};
    bool is_consuming_ = false, has_consumed_ = false;
    Deadline next_check_ = Deadline::never();  // of the handlers' time
};

}  // namespace kombu::detail
