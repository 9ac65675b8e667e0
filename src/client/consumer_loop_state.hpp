// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/consumer_loop.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "client/consumer_state.hpp"
#include "client/message_settler.hpp"
#include "client/worker_pool.hpp"
#include "transport/backoff.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace kombu::detail {

/// The implementation of ConsumerLoop. run() is one operation: it alone uses the connection. Handlers run on the
/// threads of a WorkerPool, and leave their settlements in a list that run() empties.
class ConsumerLoopState final : public MessageSettler, public std::enable_shared_from_this<ConsumerLoopState> {
public:
    ConsumerLoopState(const Connection& broker, std::vector<Queue> queues, ConsumerLoopOptions options);

    async::Operation<StopReport> run(std::stop_token stop);
    void set_paused(bool paused);
    ConsumerStats stats() const;

    // From any thread. They never wait, and never throw for a lost connection.
    async::Operation<> settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                              async::Settlement settlement) override;
    void on_dropped(const ChannelHandle& channel, std::uint64_t delivery_tag) noexcept override;

    MessageHandler on_message{};
    std::function<void(std::span<Message>)> on_batch{};
    BatchOptions batch{};
    std::function<void(Message&, const Error&)> on_decode_error{};

private:
    /// What is to be done with a message.
    struct Settlement {
        enum class Action : std::uint8_t { acknowledge, reject, requeue, requeue_slowly, retry };
        std::shared_ptr<TransportChannel> channel{};
        std::uint64_t delivery_tag = 0;
        Action action = Action::acknowledge;
        /// Of a retry.
        OutgoingMessage message{};
        std::string queue{};
        std::chrono::milliseconds delay{0};
    };
    class WakerRegistration;
    class Running;

    // -- on the threads of the handlers
    void handle(HandlerJob& job, std::stop_token stop) noexcept;
    void handle_message(Message& message, const std::string& queue, std::stop_token stop);
    void handle_batch(std::span<Message> messages, const std::string& queue);
    void on_failure(Message& message, const std::string& queue, const std::exception& error);
    void settle_by(Message& message, const std::string& queue, Outcome outcome);
    void retry_or_reject(Message& message, const std::string& queue);
    void push(Settlement settlement);
    void push_settlement_of(Message& message, Settlement settlement);
    void log_failure(const std::string& text);
    void wake();

    // -- in run()
    async::Operation<> consume_and_wait(WorkerPool& workers, std::stop_token stop);
    async::Operation<> begin_consuming(std::stop_token stop);
    async::Operation<> pause_consuming(WorkerPool& workers);
    void hand_out(WorkerPool& workers);
    void submit_batch(WorkerPool& workers);
    async::Operation<> apply_settlements(Deadline deadline);
    async::Operation<> apply(Settlement& settlement, Deadline deadline);
    async::Operation<bool> publish_retry(Settlement& settlement, Deadline deadline);
    async::Operation<> wait_after_failure(std::exception_ptr error, WorkerPool& workers, std::stop_token stop);
    async::Operation<> finish(WorkerPool& workers, StopReport& report);
    async::Operation<> give_back(WorkerPool& workers, StopReport& report);
    async::Operation<> drain_handlers(WorkerPool& workers, Deadline until);
    void requeue_jobs(std::vector<HandlerJob> jobs, StopReport& report);
    void on_lost(std::exception_ptr error);
    void check_handlers(WorkerPool& workers);
    Deadline next_wake() const;
    bool has_work(const WorkerPool& workers) const;
    bool must_close_to_give_back() const noexcept;
    std::string queue_names() const;

    Connection connection_;
    const ConsumerLoopOptions options_;
    const std::shared_ptr<ConsumerState> consumer_;

    mutable std::mutex mutex_{};  // of what follows
    std::vector<Settlement> settlements_{};
    async::Waker* waker_ = nullptr;
    bool is_paused_ = false;
    ConsumerStats stats_{};
    std::uint64_t handled_ = 0;
    Clock::time_point last_failure_log_{};
    std::uint64_t failures_since_ = 0;

    // only in run()
    std::atomic<bool> is_running_{false};
    bool is_consuming_ = false, has_consumed_ = false;
    std::deque<Settlement> slow_requeues_{};
    Deadline next_requeue_ = Deadline::at({});
    std::vector<Message> collected_{};  // of a batch
    std::string collected_queue_{};
    Deadline batch_due_ = Deadline::never();
    Deadline next_check_ = Deadline::never();  // of the handlers' time
    unsigned failures_ = 0;                    // attempts to consume since it last worked
    std::optional<Backoff> backoff_{};
    Clock::time_point lost_at_{}, consuming_since_{};
};

}  // namespace kombu::detail
