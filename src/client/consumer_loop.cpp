// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/consumer_loop.hpp>
#include <kombu/error.hpp>

#include "client/consumer_loop_state.hpp"
#include "net/blocking_driver.hpp"

#include <optional>
#include <utility>

namespace kombu {

ConsumerLoop::ConsumerLoop(const Connection& broker, std::vector<Queue> queues, ConsumerLoopOptions options)
    : state_(std::make_shared<detail::ConsumerLoopState>(broker, std::move(queues), std::move(options))) {}
ConsumerLoop::~ConsumerLoop() = default;

void ConsumerLoop::set_handler(detail::MessageHandler handler) {
    state_->handlers().on_batch = nullptr;
    state_->handlers().on_message_async = nullptr;
    state_->set_batch(std::nullopt);
    state_->handlers().on_message = std::move(handler);
}

void ConsumerLoop::set_async_handler(detail::AsyncMessageHandler handler) {
    state_->handlers().on_batch = nullptr;
    state_->set_batch(std::nullopt);
    state_->handlers().on_message_async = std::move(handler);
}

void ConsumerLoop::on_batch(BatchOptions options, std::function<void(std::span<Message>)> handler) {
    if (options.max == 0) throw ConfigurationError("max: must be at least 1");
    state_->set_batch(handler ? std::optional{options} : std::nullopt);
    state_->handlers().on_batch = std::move(handler);
}

void ConsumerLoop::on_decode_error(std::function<void(Message&, const Error&)> handler) {
    state_->handlers().on_decode_error = std::move(handler);
}

StopReport ConsumerLoop::run(std::stop_token stop) { return net::run(state_->run(std::move(stop), nullptr)); }

void ConsumerLoop::pause() { state_->set_paused(true); }
void ConsumerLoop::resume() { state_->set_paused(false); }
ConsumerStats ConsumerLoop::stats() const { return state_->stats(); }

async::Operation<StopReport> async::Operations::run(ConsumerLoop& loop, std::stop_token stop,
                                                    std::shared_ptr<void> executor) {
    return loop.state_->run(std::move(stop), std::move(executor));
}

}  // namespace kombu
