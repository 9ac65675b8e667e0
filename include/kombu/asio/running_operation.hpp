// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/asio/operation_runner.hpp>
#include <kombu/operation.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace kombu::detail {

/// The result of an operation: an error, or a value (`std::monostate` for none).
template <class Value>
struct Outcome {
    std::exception_ptr error{};
    std::optional<Value> value{};
};

/// An operation that runs on an executor, with its user's handler: the asynchronous counterpart of
/// net::BlockingDriver.
template <class T, class Completion, class Handler, class Executor>
class RunningOperation final : private OperationRunner<Executor> {
    using Runner = OperationRunner<Executor>;
    using Value = typename Completion::Value;
    using Allocator = boost::asio::associated_allocator_t<Handler, DefaultAllocator>;
    using OwnAllocator = typename std::allocator_traits<Allocator>::template rebind_alloc<RunningOperation>;
    using OwnTraits = std::allocator_traits<OwnAllocator>;

public:
    /// With `total_cancellation` that type is honoured too: the operation has no effect before its end.
    template <class From>
    static void start(async::Operation<T>&& operation, From&& handler, const Executor& executor,
                      bool total_cancellation) {
        RunningOperation* const self = create(std::forward<From>(handler), executor);
        self->operation_.emplace(std::move(operation));
        typename Runner::Ref ref{self};
        self->listen_for_cancellation(total_cancellation);
        self->run(std::move(ref), self->operation_->handle());
    }
    /// Calls the handler of an operation that has ended in the initiating function, through the executor.
    template <class From>
    static void complete(Outcome<Value>&& outcome, From&& handler, const Executor& executor) {
        RunningOperation* const self = create(std::forward<From>(handler), executor);
        self->outcome_ = std::move(outcome);
        self->finish(typename Runner::Ref{self});
    }

private:
    template <class From>
    RunningOperation(From&& handler, const Executor& executor)
        : Runner(executor), handler_(std::forward<From>(handler)) {}
    ~RunningOperation() override = default;

    template <class From>
    static RunningOperation* create(From&& handler, const Executor& executor) {
        OwnAllocator allocator{allocator_of(handler)};
        RunningOperation* const self = OwnTraits::allocate(allocator, 1);
        try {
            return new (self) RunningOperation(std::forward<From>(handler), executor);
        } catch (...) {
            OwnTraits::deallocate(allocator, self, 1);
            throw;
        }
    }

    static Allocator allocator_of(const Handler& handler) noexcept {
        return boost::asio::get_associated_allocator(handler, DefaultAllocator{});
    }

    void listen_for_cancellation(bool total_cancellation) {
        auto slot = boost::asio::get_associated_cancellation_slot(handler_);
        if (!slot.is_connected()) return;
        slot.assign([this, total_cancellation](boost::asio::cancellation_type_t type) {
            using boost::asio::cancellation_type;
            const auto accepted_types = cancellation_type::terminal | cancellation_type::partial |
                                        (total_cancellation ? cancellation_type::total : cancellation_type::none);
            if ((type & accepted_types) != cancellation_type::none) this->cancel();
        });
    }

    void end(std::exception_ptr error) noexcept override {
        if (error)
            outcome_.error = std::move(error);
        else
            store_result();
        operation_.reset();
    }

    void store_result() noexcept {
        try {
            if constexpr (std::is_void_v<T>) {
                operation_->result();
                outcome_.value.emplace();
            } else {
                outcome_.value.emplace(operation_->result());
            }
        } catch (...) {
            outcome_.error = std::current_exception();
        }
    }

    void deliver() override {
        auto slot = boost::asio::get_associated_cancellation_slot(handler_);
        if (slot.is_connected()) slot.clear();
        Handler handler = std::move(handler_);
        Outcome<Value> outcome = std::move(outcome_);
        const auto work = std::move(this->work_);
        OwnAllocator allocator{allocator_of(handler)};
        this->~RunningOperation();
        OwnTraits::deallocate(allocator, this, 1);
        Completion::complete(std::move(handler), std::move(outcome));
    }

    void destroy() noexcept override {
        this->drop_registration();
        OwnAllocator allocator{allocator_of(handler_)};
        this->~RunningOperation();
        OwnTraits::deallocate(allocator, this, 1);
    }

    std::optional<async::Operation<T>> operation_{};
    Handler handler_;
    Outcome<Value> outcome_{};
};

}  // namespace kombu::detail
