// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/initiate.hpp>
#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/celery.hpp>
#include <kombu/connection.hpp>
#include <kombu/message.hpp>
#include <kombu/pool/async.hpp>
#include <kombu/pool/resource_pool.hpp>
#include <kombu/producer.hpp>
#include <kombu/simple_queue.hpp>

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

/// Boost.Asio: the asynchronous members of pools, connections, producers, queues and messages, for any completion
/// token. The only header of the library that names Boost; include it where they are used.
///
///     auto producer = co_await pools::producers[connection].async_acquire({.timeout = 5s}, asio::use_awaitable);
///     co_await producer->async_publish(article, {.routing_key = "domestic"}, asio::use_awaitable);
///
/// Completion: never within the initiating function, by the handler's executor; one without an executor is called on
/// the library's own thread, which begins with the first such operation and ends after the last. The handler's
/// allocator is used. Errors: use_awaitable, use_future and handlers that take a std::exception_ptr get the exceptions
/// that the blocking call throws; everybody else (handlers that take a boost::system::error_code, as_tuple,
/// redirect_error, deferred operations that are awaited without another token) gets a code of the category "kombu"
/// (kombu::errc).
///
/// Cancellation: by the handler's cancellation slot, `terminal` and `partial`, for async_acquire also `total`. A
/// cancelled operation ends with operation_aborted, as an exception with kombu::Cancelled. What was acquired goes back;
/// a connection in the middle of an exchange is closed, one that had said nothing stays as it was.
///
/// Lifetime: what an operation is called on must live until it completes; a producer that is given back before ends its
/// operation with an error. Threads: an execution context may run on any number of threads; a connection and what is
/// made from it serve one operation at a time (LeaseError otherwise). When the context is destroyed first, operations
/// end without a call of their handlers, as all of Asio's do. Fork: after the io_context's own notify_fork(), or with
/// another one, a forked child goes on as with blocking calls; an operation that was under way ends there with an
/// error, but for those on the library's own thread, which the child does not have: they never end there. See
/// docs/asio.md.
namespace kombu {

namespace detail {

/// Begins an operation that was made already; what making it threw is delivered as any other error.
template <class T>
struct Prepared {
    std::optional<async::Operation<T>> operation{};
    std::exception_ptr error{};

    template <class Make>
    static Prepared from(Make make) {
        Prepared prepared;
        try {
            prepared.operation.emplace(make());
        } catch (...) {
            prepared.error = std::current_exception();
        }
        return prepared;
    }
    template <class Job>
    void operator()(Job& job) {
        if (operation)
            job.operation.emplace(std::move(*operation));
        else
            job.outcome.error = error;
    }
};

template <class T, class Make, class Token>
auto initiate_made(Make make, Token&& token) {
    return initiate<T>(Prepared<T>::from(std::move(make)), std::forward<Token>(token));
}

}  // namespace detail

template <class T>
template <class Token>
auto ResourcePool<T>::async_acquire(const AcquireOptions& options, Token&& token) {
    return detail::initiate<Lease<T>>(
        [this, options](auto& job) {
            job.total_cancellation = true;
            Lease<T> lease = detail::PoolAccess::try_acquire_idle(*this, options.site);
            if (lease)
                job.outcome.value.emplace(std::move(lease));
            else
                job.operation.emplace(async::acquire(*this, options));
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
    return detail::initiate_made<void>([&] { return async::Operations::connect(*this, timeout); },
                                       std::forward<Token>(token));
}
template <class Token>
auto Connection::async_connect(Token&& token) {
    return async_connect(OptionalTimeout{}, std::forward<Token>(token));
}

template <class QueueOrName, class Token>
auto Connection::async_simple_queue(const QueueOrName& queue, const SimpleQueueOptions& options, Token&& token) {
    return detail::initiate_made<SimpleQueue>([&] { return async::Operations::simple_queue(*this, queue, options); },
                                              std::forward<Token>(token));
}
template <class QueueOrName, class Token>
auto Connection::async_simple_queue(const QueueOrName& queue, Token&& token) {
    return async_simple_queue(queue, SimpleQueueOptions{}, std::forward<Token>(token));
}

template <class Token>
auto Producer::async_publish(const Json& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_made<void>([&] { return async::Operations::publish(*this, body, options); },
                                       std::forward<Token>(token));
}
template <detail::TextBody Text, class Token>
auto Producer::async_publish(const Text& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_made<void>(
        [&] { return async::Operations::publish(*this, std::string_view{body}, options); }, std::forward<Token>(token));
}
template <detail::BytesBody Bytes, class Token>
auto Producer::async_publish(const Bytes& body, const PublishOptions& options, Token&& token) {
    return detail::initiate_made<void>(
        [&] { return async::Operations::publish(*this, std::span<const std::byte>{body}, options); },
        std::forward<Token>(token));
}

template <class Token>
auto Batch::async_commit(OptionalTimeout timeout, Token&& token) {
    return detail::initiate_made<void>([&] { return async::Operations::commit(*this, timeout); },
                                       std::forward<Token>(token));
}
template <class Token>
auto Batch::async_commit(Token&& token) {
    return async_commit(OptionalTimeout{}, std::forward<Token>(token));
}

template <class Token>
auto SimpleQueue::async_get(const GetOptions& options, Token&& token) {
    return detail::initiate_made<Message>([&] { return async::Operations::get(*this, options); },
                                          std::forward<Token>(token));
}
template <class Token>
auto SimpleQueue::async_get(Token&& token) {
    return async_get(GetOptions{}, std::forward<Token>(token));
}
template <class Body, class Token>
auto SimpleQueue::async_put(const Body& body, const PublishOptions& options, Token&& token) {
    return producer_.async_publish(body, addressed(options), std::forward<Token>(token));
}

template <class Token>
auto celery::async_send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                             const TaskOptions& options, Token&& token) {
    return detail::initiate_made<std::string>(
        [&] { return async::Operations::send_task(producer, name, args, kwargs, options); },
        std::forward<Token>(token));
}

template <class Token>
auto Message::async_ack(Token&& token) {
    return detail::initiate_made<void>([&] { return async::Operations::settle(*this, async::Settlement::acknowledge); },
                                       std::forward<Token>(token));
}
template <class Token>
auto Message::async_reject(bool requeue, Token&& token) {
    return detail::initiate_made<void>(
        [&] {
            return async::Operations::settle(*this, requeue ? async::Settlement::requeue : async::Settlement::reject);
        },
        std::forward<Token>(token));
}

}  // namespace kombu
