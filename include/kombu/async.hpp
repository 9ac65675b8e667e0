// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>
#include <kombu/json.hpp>
#include <kombu/message.hpp>
#include <kombu/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

namespace kombu {

class Batch;
struct BrokerInfo;
class Connection;
class Consumer;
class ConsumerLoop;
struct GetOptions;
class Producer;
struct PublishOptions;
class Queue;
class SimpleQueue;
struct SimpleQueueOptions;
struct StopReport;
namespace celery {
class AsyncResult;
struct TaskOptions;
}  // namespace celery

namespace detail {
class ConsumerState;
}

namespace async {

/// The operations behind the blocking members of the public classes and behind the async_ ones of kombu/asio.hpp, for
/// writers of drivers. Each does, throws and returns what the member does.
///
/// \par Lifetime
/// Objects that an operation is made of must exist, at the same address, until it is done. `publish` and `send_task`
/// encode at once, and throw encoding errors at once: their operations refer to neither body nor options, and end with
/// LeaseError when the producer is given back.
struct KOMBU_EXPORT Operations {
    /// Connection::connect()
    static Operation<> connect(Connection& connection, OptionalTimeout timeout);
    /// Connection::broker_info()
    static Operation<BrokerInfo> broker_info(Connection& connection, OptionalTimeout timeout);
    /// Connection::simple_queue(), by name
    static Operation<SimpleQueue> simple_queue(Connection& connection, std::string_view name,
                                               const SimpleQueueOptions& options);
    /// Connection::simple_queue()
    static Operation<SimpleQueue> simple_queue(Connection& connection, const Queue& queue,
                                               const SimpleQueueOptions& options);
    /// Producer::publish(), of a JSON value
    static Operation<> publish(const Producer& producer, const Json& body, const PublishOptions& options);
    /// Producer::publish(), of text
    static Operation<> publish(const Producer& producer, std::string_view body, const PublishOptions& options);
    /// Producer::publish(), of bytes
    static Operation<> publish(const Producer& producer, std::span<const std::byte> body,
                               const PublishOptions& options);
    /// Batch::commit()
    static Operation<> commit(Batch& batch, OptionalTimeout timeout);
    /// SimpleQueue::get()
    static Operation<Message> get(SimpleQueue& queue, const GetOptions& options);
    /// Message::ack() and Message::reject()
    static Operation<> settle(Message& message, Settlement settlement);
    /// The next message of a consumer
    static Operation<Message> receive(Consumer& consumer);
    /// Consumer::consume()
    static Operation<> consume(Consumer& consumer);
    /// Consumer::cancel()
    static Operation<> cancel(Consumer& consumer);
    /// `executor`: an any_io_executor for handlers that are coroutines; null: the library's own.
    static Operation<StopReport> run(ConsumerLoop& loop, std::stop_token stop, std::shared_ptr<void> executor);
    /// Consumer::ack_until()
    static Operation<> acknowledge_until(detail::ConsumerState& consumer, Message& message);
    /// celery::send_task()
    static Operation<std::string> send_task(const Producer& producer, std::string_view name, const Json& args,
                                            const Json& kwargs, const celery::TaskOptions& options);
    /// celery::AsyncResult::get()
    static Operation<Json> get_result(celery::AsyncResult& result, OptionalTimeout timeout);
};

}  // namespace async
}  // namespace kombu
