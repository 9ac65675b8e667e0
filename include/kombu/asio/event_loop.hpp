// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/operation.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/descriptor_base.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/system/error_code.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

/// What the library keeps with somebody's execution context (an io_context, a thread_pool), and how that ends.
namespace kombu::detail {

template <class Item>
struct Linked {
    Item* next = nullptr;
    Item* previous = nullptr;
};

/// Items that live where their owners keep them.
template <class Item>
class LinkedList {
public:
    Item* front() const noexcept { return head_; }
    void push(Item& item) noexcept {
        item.next = head_;
        item.previous = nullptr;
        if (head_) head_->previous = &item;
        head_ = &item;
    }
    void remove(Item& item) noexcept {
        (item.previous ? item.previous->next : head_) = item.next;
        if (item.next) item.next->previous = item.previous;
    }

private:
    Item* head_ = nullptr;
};

/// An operation that waits for a signal: nothing in the context refers to it meanwhile.
class Parked : public Linked<Parked> {
public:
    /// The context ends: the operation is dropped.
    virtual void drop() noexcept = 0;

protected:
    ~Parked() = default;
};

class Registration;

/// What outlives the context, for those who come to remove themselves later.
struct LoopState {
    std::mutex mutex{};
    bool ended = false;
    LinkedList<Registration> registrations{};
    LinkedList<Parked> parked{};
};

/// A descriptor in the context's reactor. It stays between operations, since entering it costs system calls.
class Registration : public Linked<Registration> {
public:
    Registration(std::shared_ptr<LoopState> loop, boost::asio::any_io_executor executor, int descriptor)
        : loop_(std::move(loop)), descriptor_(std::in_place, std::move(executor), descriptor) {
        const std::lock_guard lock{loop_->mutex};
        loop_->registrations.push(*this);
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
        const std::lock_guard lock{loop_->mutex};
        if (loop_->ended) return;
        loop_->registrations.remove(*this);
        release();
    }

    bool is_of(const std::shared_ptr<LoopState>& loop) const noexcept { return loop_ == loop; }

    template <class Handler>
    void wait(boost::asio::posix::descriptor_base::wait_type what, Handler handler) {
        descriptor_->async_wait(what, std::move(handler));
    }
    void cancel() noexcept {
        boost::system::error_code ignored;
        if (descriptor_) descriptor_->cancel(ignored);
    }
    /// Takes it out of the reactor; whoever waits is told. The descriptor itself is its owner's.
    void release() noexcept {
        try {
            if (descriptor_) descriptor_->release();
        } catch (const std::exception&) {
        }
        descriptor_.reset();
    }

private:
    std::shared_ptr<LoopState> loop_;
    std::optional<boost::asio::posix::stream_descriptor> descriptor_;
};

/// The context's service: ends what the library has there before the context is gone.
class EventLoop final : public boost::asio::execution_context::service {
public:
    using key_type = EventLoop;
    inline static boost::asio::execution_context::id id;

    explicit EventLoop(boost::asio::execution_context& context) : service(context) {}

    const std::shared_ptr<LoopState>& state() const noexcept { return state_; }

private:
    void shutdown() override {
        std::unique_lock lock{state_->mutex};
        state_->ended = true;
        while (Registration* const registration = state_->registrations.front()) {
            state_->registrations.remove(*registration);
            registration->release();
        }
        while (Parked* const parked = state_->parked.front()) {
            state_->parked.remove(*parked);
            lock.unlock();
            parked->drop();
            lock.lock();
        }
    }

    const std::shared_ptr<LoopState> state_ = std::make_shared<LoopState>();
};

}  // namespace kombu::detail
