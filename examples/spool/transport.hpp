// SPDX-License-Identifier: BSD-3-Clause
// A transport of one's own: a directory is the broker. It has the default exchange only; what it does not have is an
// error.
#pragma once

#include <kombu/transport.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spool.hpp"

namespace spool {

namespace async = kombu::async;
using kombu::Deadline;

constexpr std::chrono::milliseconds poll_interval{20};

class SpoolChannel final : public kombu::TransportChannel {
public:
    SpoolChannel(std::shared_ptr<const Spool> spool, std::shared_ptr<std::atomic<bool>> ended)
        : spool_(std::move(spool)), ended_(std::move(ended)) {}
    ~SpoolChannel() override { SpoolChannel::close_nowait(); }

    bool is_open() const noexcept override { return open_ && !*ended_; }
    void check_open() const override {
        if (*ended_) throw kombu::ConnectionError("the connection to the spool was closed");
        if (!open_) throw kombu::ChannelError("the channel is closed");
    }
    std::size_t unsettled() const noexcept override { return unsettled_.size() + consumers_.size(); }
    async::Operation<> close(Deadline) override { return close_nowait(), async::Operation<>::completed(); }
    bool close_nowait() noexcept override {
        open_ = false;
        if (::getpid() == owner_)  // a forked child leaves its parent's messages alone
            for (const auto& [tag, message] : unsettled_) Spool::give_back(message.taken);
        unsettled_.clear();
        consumers_.clear();
        inbox_.clear();
        return true;
    }

    async::Operation<kombu::QueueInfo> queue_declare(const kombu::Queue& queue, Deadline) override {
        check_open();
        const kombu::QueueOptions& options = queue.options();
        if (options.exclusive || options.auto_delete) refuse("a queue that ends with its user");
        if (options.expires || options.message_ttl) refuse("a time limit");
        if (options.max_length || options.max_length_bytes || options.max_priority) refuse("a bounded queue");
        if (!options.queue_arguments.empty()) refuse("arguments");
        if (options.passive)
            spool_->check_exists(queue.name());
        else
            spool_->declare(queue.name());
        co_return kombu::QueueInfo{queue.name(), static_cast<std::uint32_t>(spool_->messages(queue.name()).size()), 0};
    }
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline) override {
        check_open();
        co_return spool_->purge(name);
    }
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline) override {
        check_open();
        if (if_unused) refuse("if_unused");  // who else uses it, it cannot know
        const auto count = static_cast<std::uint32_t>(spool_->messages(name).size());
        if (if_empty && count != 0) throw kombu::ChannelError("PRECONDITION_FAILED - the queue is not empty", 406);
        spool_->erase(name);
        co_return count;
    }
    async::Operation<> basic_publish(const kombu::OutgoingMessage& message, Deadline, kombu::OptionalTimeout) override {
        check_open();
        const kombu::MessageMetadata& to = *message.metadata;
        if (!to.exchange.empty()) refuse("an exchange");
        if (to.properties.expiration) refuse("an expiration");
        if (to.properties.priority.value_or(0) != 0) refuse("a priority");
        if (spool_->exists(to.routing_key))
            spool_->put(to.routing_key, message);
        else if (to.mandatory)
            throw kombu::Unroutable("no queue is named '" + to.routing_key + "'", 312);
        return async::Operation<>::completed();  // nothing to wait for
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                                 Deadline) override {
        check_open();
        co_return receive(std::string{queue}, no_ack, nullptr);
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> wait_for_message(const kombu::Queue& queue, bool no_ack,
                                                                        Deadline until) override {
        for (;;) {
            check_open();  // also after each wait: interrupt() may have been called
            auto delivery = receive(queue.name(), no_ack, nullptr);
            if (delivery || until.expired()) co_return delivery;
            const async::Wait wait{.until = std::min(until, Deadline::after(poll_interval))};
            co_await wait;
        }
    }
    async::Operation<> basic_ack(std::uint64_t tag, Deadline) override {
        return settle_later(tag, async::Settlement::acknowledge), async::Operation<>::completed();
    }
    async::Operation<> basic_reject(std::uint64_t tag, bool requeue, Deadline) override {
        settle_later(tag, requeue ? async::Settlement::requeue : async::Settlement::reject);
        return async::Operation<>::completed();
    }
    async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline) override {
        check_open();
        return prefetch_count_ = prefetch_count, async::Operation<>::completed();
    }
    async::Operation<> basic_consume(const kombu::Queue& queue, const kombu::ConsumeOptions& options,
                                     Deadline) override {
        check_open();
        spool_->check_exists(queue.name());
        if (options.exclusive || options.priority) refuse("an exclusive consumer, or one with a priority");
        if (consumers_.contains(options.tag)) throw kombu::ChannelError("the consumer tag is in use", 530);
        consumers_[options.tag] = std::make_shared<Consumer>(
            Consumer{options.tag, queue.name(), options.no_ack, std::max<std::size_t>(prefetch_count_, 1)});
        return async::Operation<>::completed();
    }
    async::Operation<> basic_cancel(std::string_view tag, Deadline) override {
        check_open();
        return consumers_.erase(std::string{tag}), async::Operation<>::completed();
    }
    std::optional<kombu::ConsumerEvent> next_event() override {
        if (inbox_.empty()) return std::nullopt;
        kombu::ConsumerEvent event = std::move(inbox_.front());
        inbox_.pop_front();
        return event;
    }
    bool has_event() const noexcept override { return !inbox_.empty(); }
    void settle_later(std::uint64_t tag, async::Settlement settlement) override {
        check_open();
        const auto found = unsettled_.find(tag);
        if (found == unsettled_.end()) throw kombu::ChannelError("unknown delivery tag " + std::to_string(tag), 406);
        if (settlement == async::Settlement::requeue)
            Spool::give_back(found->second.taken);
        else
            Spool::remove(found->second.taken.file);
        if (found->second.consumer) --found->second.consumer->held;
        unsettled_.erase(found);
    }
    void requeue_later(std::span<const std::uint64_t> tags) override {
        for (const std::uint64_t tag : tags) settle_later(tag, async::Settlement::requeue);
    }
    void acknowledge_until(std::uint64_t tag) override {
        while (!unsettled_.empty() && unsettled_.begin()->first <= tag)
            settle_later(unsettled_.begin()->first, async::Settlement::acknowledge);
    }
    async::Operation<> flush(Deadline) override { return check_open(), async::Operation<>::completed(); }
    async::Operation<> basic_recover(Deadline) override {
        check_open();
        std::erase_if(inbox_,
                      [&](const auto& event) { return unsettled_.contains(event.delivery->info.delivery_tag); });
        while (!unsettled_.empty()) settle_later(unsettled_.begin()->first, async::Settlement::requeue);
        return async::Operation<>::completed();
    }

    // What a directory is not.
    async::Operation<> exchange_declare(const kombu::Exchange&, Deadline) override { refuse("an exchange"); }
    async::Operation<> exchange_delete(std::string_view, bool, Deadline) override { refuse("an exchange"); }
    async::Operation<> queue_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                  Deadline) override {
        refuse("a binding");
    }
    async::Operation<> queue_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                    Deadline) override {
        refuse("a binding");
    }
    async::Operation<> exchange_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                     Deadline) override {
        refuse("a binding");
    }
    async::Operation<> exchange_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                       Deadline) override {
        refuse("a binding");
    }
    async::Operation<> publish_later(const kombu::OutgoingMessage&, const std::string&, std::chrono::milliseconds,
                                     Deadline) override {
        refuse("a delay");
    }

    /// Takes messages for the consumers in turn, as many as each may hold.
    void fill_inbox() {
        for (bool found = true; found;) {
            found = false;
            for (const auto& [tag, consumer] : consumers_) {
                if (consumer->no_ack ? !inbox_.empty() : consumer->held >= consumer->prefetch_count) continue;
                auto delivery = receive(consumer->queue, consumer->no_ack, consumer);
                found |= delivery != nullptr;
                if (delivery) inbox_.push_back({tag, std::move(delivery)});
            }
        }
    }

private:
    struct Consumer {
        std::string tag{};
        std::string queue{};
        bool no_ack = false;
        std::size_t prefetch_count = 1;
        std::size_t held = 0;
    };
    struct Unsettled {
        Taken taken{};
        std::shared_ptr<Consumer> consumer{};  // null for a message of basic_get
    };

    [[noreturn]] static void refuse(const std::string& what) {
        throw kombu::ChannelError("NOT_IMPLEMENTED - a spool does not have " + what, 540);
    }
    std::unique_ptr<kombu::Delivery> receive(const std::string& queue, bool no_ack,
                                             const std::shared_ptr<Consumer>& consumer) {
        Taken taken;
        auto delivery = spool_->take(queue, taken);
        if (!delivery) return nullptr;
        delivery->info.delivery_tag = ++last_tag_;
        if (no_ack) {
            Spool::remove(taken.file);
        } else {
            unsettled_[last_tag_] = {std::move(taken), consumer};
            if (consumer) ++consumer->held;
        }
        return delivery;
    }

    std::shared_ptr<const Spool> spool_;
    std::shared_ptr<std::atomic<bool>> ended_;
    const pid_t owner_ = ::getpid();
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, Unsettled> unsettled_;
    std::uint16_t prefetch_count_ = 0;
    std::map<std::string, std::shared_ptr<Consumer>> consumers_;
    std::deque<kombu::ConsumerEvent> inbox_;
};

class SpoolConnection final : public kombu::TransportConnection {
public:
    explicit SpoolConnection(const std::string& directory) : spool_(std::make_shared<const Spool>(directory)) {}
    ~SpoolConnection() override { *ended_ = true; }

    async::Operation<std::shared_ptr<kombu::TransportChannel>> open_channel(Deadline) override {
        if (*ended_) throw kombu::ConnectionError("the connection to the spool was closed");
        auto channel = std::make_shared<SpoolChannel>(spool_, ended_);
        std::erase_if(channels_, [](const auto& weak) { return weak.expired(); });
        channels_.push_back(channel);
        co_return channel;
    }
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable) override {
        bool has_event = false;
        for (const auto& weak : channels_)
            if (const auto channel = weak.lock(); channel && channel->is_open()) {
                channel->fill_inbox();
                has_event |= channel->has_event();
            }
        if (*ended_) throw kombu::ConnectionError("the connection to the spool was closed");
        if (has_event) co_return;
        const Deadline next_look = std::min({until, wake_at, Deadline::after(poll_interval)});
        const async::Wait wait{.signal = wakeable, .until = next_look};
        co_await wait;
    }
    bool is_open() const noexcept override { return !*ended_; }
    bool is_alive() noexcept override { return is_open(); }
    async::Operation<> close(Deadline) override { return abandon(), async::Operation<>::completed(); }
    void abandon() noexcept override {
        for (const auto& weak : channels_)
            if (const auto channel = weak.lock()) channel->close_nowait();
        *ended_ = true;
    }
    void interrupt() noexcept override { *ended_ = true; }

private:
    std::shared_ptr<const Spool> spool_;
    std::shared_ptr<std::atomic<bool>> ended_ = std::make_shared<std::atomic<bool>>(false);
    std::vector<std::weak_ptr<SpoolChannel>> channels_;
};

class SpoolTransport final : public kombu::Transport {
public:
    /// The directory alone identifies the broker: it is the virtual host.
    void normalise(kombu::Endpoint& endpoint) const override {
        const fs::path directory{endpoint.virtual_host};
        if (!directory.is_absolute())
            throw kombu::ConfigurationError("the virtual host of a spool must be the absolute path of a directory");
        std::string path = directory.lexically_normal();
        if (path.size() > 1 && path.back() == '/') path.pop_back();
        endpoint = {.virtual_host = path};
    }
    async::Operation<std::shared_ptr<kombu::TransportConnection>> connect(const kombu::Endpoint& endpoint,
                                                                          const kombu::ConnectionParameters&,
                                                                          Deadline) const override {
        co_return std::make_shared<SpoolConnection>(endpoint.virtual_host);
    }
};

}  // namespace spool
