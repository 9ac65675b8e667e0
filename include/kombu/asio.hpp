// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/awaitable_handler.hpp>
#include <kombu/asio/initiate.hpp>
#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/celery_result.hpp>
#include <kombu/connection.hpp>
#include <kombu/consumer.hpp>
#include <kombu/consumer_loop.hpp>
#include <kombu/message.hpp>
#include <kombu/pool/async.hpp>
#include <kombu/pool/resource_pool.hpp>
#include <kombu/producer.hpp>
#include <kombu/simple_queue.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

/// \file
/// Boost.Asio: the asynchronous members of pools, connections, producers, consumers, queues, batches and messages, for
/// any completion token. The only public header that includes Boost.
///
///     auto producer = co_await pools::producers[connection].async_acquire({.timeout = 5s}, asio::use_awaitable);
///     const kombu::PublishOptions options{.routing_key = "domestic"};  // named: GCC 12 destroys braces twice there
///     co_await producer->async_publish(article, options, asio::use_awaitable);
///
/// \par Completion
/// The handler's associated executor calls the handler, never within the initiating function. The library's own
/// thread calls a handler that has no executor. The thread starts with the first such operation and ends after the
/// last. Operations use the handler's associated allocator.
/// \par Errors
/// use_awaitable, use_future and handlers that take a std::exception_ptr get the exceptions of the blocking call.
/// Handlers that take a boost::system::error_code, as_tuple, redirect_error, and deferred operations that are awaited
/// without another token get a code of the category "kombu" (kombu::errc).
/// \par Cancellation
/// The handler's cancellation slot cancels an operation: `terminal` and `partial`, for async_acquire and
/// async_receive also `total`.
/// The operation then ends with operation_aborted or, as an exception, with kombu::Cancelled. A lease that it
/// acquired is released. A connection in the middle of an exchange is closed; a connection on which nothing was sent
/// stays as it was.
/// \par Thread safety
/// An execution context may run on any number of threads. A connection and the objects made from it serve one
/// operation at a time; a second one ends with LeaseError.
/// \par Lifetime
/// The object of an operation must exist until the operation completes. When a producer goes back to its pool
/// earlier, its operation ends with an error. When the execution context is destroyed first, operations end without a
/// call of their handlers, as all operations of Asio do.
/// \par Fork
/// A forked child uses another io_context, or the parent's one after notify_fork(). An operation that was in progress
/// ends there with an error. One on the library's own thread never ends there, since the child does not have that
/// thread.
/// \see docs/asio.md
namespace kombu {

namespace detail {

/// Starts an operation that exists already. An exception from its creation is delivered as any other error.
template <class T>
struct CreatedOperation {
    std::optional<async::Operation<T>> operation{};
    std::exception_ptr error{};

    template <class Make>
    static CreatedOperation create(Make make) {
        CreatedOperation created;
        try {
            created.operation.emplace(make());
        } catch (...) {
            created.error = std::current_exception();
        }
        return created;
    }
    template <class Initiated>
    void operator()(Initiated& initiated) {
        if (operation)
            initiated.operation.emplace(std::move(*operation));
        else
            initiated.outcome.error = error;
    }
};

template <class T, class Make, class Token>
auto initiate_operation(Make make, Token&& token) {
    return initiate<T>(CreatedOperation<T>::create(std::move(make)), std::forward<Token>(token));
}

}  // namespace detail

template <class T>
template <class Token>
auto ResourcePool<T>::async_acquire(const AcquireOptions& options, Token&& token) {
    return detail::initiate<Lease<T>>(
        [this, options](auto& initiated) {
            initiated.total_cancellation = true;
            Lease<T> lease = detail::PoolAccess::try_acquire_idle(*this, options.site);
            if (lease)
                initiated.outcome.value.emplace(std::move(lease));
            else
                initiated.operation.emplace(async::acquire(*this, options));
        },
        std::forward<Token>(token));
}
template <class T>
template <class Token>
auto ResourcePool<T>::async_acquire(Token&& token) {
    return async_acquire(AcquireOptions{}, std::forward<Token>(token));
}

template <class Token>
auto Connection::async_connect(OptionalTimeout timeout, Token&& token) {
    return detail::initiate_operation<void>([&] { return async::Operations::connect(*this, timeout); },
                                            std::forward<Token>(token));
}
template <class Token>
auto Connection::async_connect(Token&& token) {
    return async_connect(OptionalTimeout{}, std::forward<Token>(token));
}

template <class Token>
auto Connection::async_broker_info(OptionalTimeout timeout, Token&& token) {
    return detail::initiate_operation<BrokerInfo>([&] { return async::Operations::broker_info(*this, timeout); },
                                                  std::forward<Token>(token));
}
template <class Token>
auto Connection::async_broker_info(Token&& token) {
    return async_broker_info(OptionalTimeout{}, std::forward<Token>(token));
}

template <class QueueOrName, class Token>
auto Connection::async_simple_queue(const QueueOrName& queue, const SimpleQueueOptions& options, Token&& token) {
    return detail::initiate_operation<SimpleQueue>(
        [&] { return async::Operations::simple_queue(*this, queue, options); }, std::forward<Token>(token));
}
template <class QueueOrName, class Token>
auto Connection::async_simple_queue(const QueueOrName& queue, Token&& token) {
    return async_simple_queue(queue, SimpleQueueOptions{}, std::forward<Token>(token));
}

template <class Token>
auto Producer::async_publish(const Json& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_operation<void>([&] { return async::Operations::publish(*this, body, options); },
                                            std::forward<Token>(token));
}
template <TextBody Text, class Token>
auto Producer::async_publish(const Text& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_operation<void>(
        [&] { return async::Operations::publish(*this, detail::text_of(body), options); }, std::forward<Token>(token));
}
template <BytesBody Bytes, class Token>
auto Producer::async_publish(const Bytes& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_operation<void>(
        [&] { return async::Operations::publish(*this, detail::bytes_of(body), options); }, std::forward<Token>(token));
}

template <class Token>
auto Batch::async_commit(OptionalTimeout timeout, Token&& token) {
    return detail::initiate_operation<void>([&] { return async::Operations::commit(*this, timeout); },
                                            std::forward<Token>(token));
}
template <class Token>
auto Batch::async_commit(Token&& token) {
    return async_commit(OptionalTimeout{}, std::forward<Token>(token));
}

template <class Token>
auto Consumer::async_receive(Token&& token) {
    return detail::initiate<Message>(
        [this](auto& initiated) {
            initiated.total_cancellation = true;  // what has arrived is the next call's
            detail::CreatedOperation<Message>::create([&] { return async::Operations::receive(*this); })(initiated);
        },
        std::forward<Token>(token));
}
template <class Token>
auto Consumer::async_consume(Token&& token) {
    return detail::initiate_operation<void>([&] { return async::Operations::consume(*this); },
                                            std::forward<Token>(token));
}
template <class Token>
auto Consumer::async_cancel(Token&& token) {
    return detail::initiate_operation<void>([&] { return async::Operations::cancel(*this); },
                                            std::forward<Token>(token));
}

template <class Token>
auto ConsumerLoop::async_run(std::stop_token stop, Token&& token) {
    return detail::initiate<StopReport>(
        [this, stop](auto& initiated, const std::shared_ptr<void>& executor) {
            detail::CreatedOperation<StopReport>::create([&] { return async::Operations::run(*this, stop, executor); })(
                initiated);
        },
        std::forward<Token>(token));
}

template <class Token>
auto SimpleQueue::async_get(const GetOptions& options, Token&& token) {
    return detail::initiate_operation<Message>([&] { return async::Operations::get(*this, options); },
                                               std::forward<Token>(token));
}
template <class Token>
auto SimpleQueue::async_get(Token&& token) {
    return async_get(GetOptions{}, std::forward<Token>(token));
}
template <class Body, class Token>
auto SimpleQueue::async_put(const Body& body, const PublishOptions& options, Token&& token) {
    return producer_.async_publish(body, with_routing_key(options), std::forward<Token>(token));
}

namespace celery {
struct TaskOptions;

// Declared in kombu/celery.hpp too, which not every program needs.
template <class Token>
auto async_send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                     const TaskOptions& options, Token&& token) {
    return detail::initiate_operation<std::string>(
        [&] { return async::Operations::send_task(producer, name, args, kwargs, options); },
        std::forward<Token>(token));
}

template <class Token>
auto AsyncResult::async_get(OptionalTimeout timeout, Token&& token) {
    return kombu::detail::initiate_operation<Json>([&] { return async::Operations::get_result(*this, timeout); },
                                                   std::forward<Token>(token));
}

}  // namespace celery

template <class Token>
auto Message::async_ack(Token&& token) {
    return detail::initiate_operation<void>(
        [&] { return async::Operations::settle(*this, async::Settlement::acknowledge); }, std::forward<Token>(token));
}
template <class Token>
auto Message::async_reject(bool requeue, Token&& token) {
    return detail::initiate_operation<void>(
        [&] {
            return async::Operations::settle(*this, requeue ? async::Settlement::requeue : async::Settlement::reject);
        },
        std::forward<Token>(token));
}

}  // namespace kombu
