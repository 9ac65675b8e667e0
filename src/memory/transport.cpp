// SPDX-License-Identifier: BSD-3-Clause
#include "memory/transport.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/version.hpp>

#include "memory/broker.hpp"
#include "messages/forbidden_value.hpp"
#include "support/pieces.hpp"
#include "virtual/amqp_errors.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

namespace kombu::memory {
namespace {

class MemoryChannel final : public TransportChannel {
    void check() const {
        client_->check();
        if (!open_) throw ChannelError("the channel is closed");
    }

    /// Runs a step. When it throws ChannelError, the channel is closed, as by a real broker.
    template <class Step>
    auto guarded(Step step) {
        check();
        try {
            return step();
        } catch (const ChannelError&) {
            close_nowait();
            throw;
        }
    }

public:
    MemoryChannel(std::shared_ptr<Broker> broker, std::shared_ptr<Client> client, bool has_confirms)
        : broker_(std::move(broker)), client_(std::move(client)), has_confirms_(has_confirms) {}
    ~MemoryChannel() override { MemoryChannel::close_nowait(); }

    bool is_open() const noexcept override { return open_ && !client_->interrupted && !client_->is_inherited(); }
    void check_open() const override { check(); }
    std::size_t unsettled() const noexcept override { return unsettled_.size() + consumers_.size() + inbox_.size(); }
    async::Operation<> close(Deadline) override {
        close_nowait();
        co_return;
    }
    bool close_nowait() noexcept override {
        open_ = false;
        if (client_->is_inherited()) return true;
        std::vector<Consumer*> consumers;
        for (auto& [tag, consumer] : consumers_) consumers.push_back(&consumer);
        std::vector<ReservedMessage> messages;
        for (auto& [tag, delivered] : unsettled_) messages.push_back(std::move(delivered.message));
        broker_->give_back(*client_, consumers, std::move(messages), inbox_);
        unsettled_.clear();
        consumers_.clear();
        return true;
    }

    async::Operation<> exchange_declare(const Exchange& exchange, Deadline) override {
        guarded([&] { broker_->exchange_declare(exchange); });
        co_return;
    }
    async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline) override {
        guarded([&] { broker_->exchange_delete(name, if_unused); });
        co_return;
    }
    async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline) override {
        co_return guarded([&] { return broker_->queue_declare(queue, *client_); });
    }
    async::Operation<> queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                  const Json& arguments, Deadline) override {
        guarded([&] { broker_->queue_bind(queue, exchange, routing_key, arguments, *client_); });
        co_return;
    }
    async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                    const Json& arguments, Deadline) override {
        guarded([&] { broker_->queue_unbind(queue, exchange, routing_key, arguments, *client_); });
        co_return;
    }
    async::Operation<> exchange_bind(std::string_view destination, std::string_view source,
                                     std::string_view routing_key, const Json& arguments, Deadline) override {
        guarded([&] { broker_->exchange_bind(destination, source, routing_key, arguments); });
        co_return;
    }
    async::Operation<> exchange_unbind(std::string_view destination, std::string_view source,
                                       std::string_view routing_key, const Json& arguments, Deadline) override {
        guarded([&] { broker_->exchange_unbind(destination, source, routing_key, arguments); });
        co_return;
    }
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline) override {
        co_return guarded([&] { return broker_->queue_purge(name, *client_); });
    }
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline) override {
        co_return guarded([&] { return broker_->queue_delete(name, if_unused, if_empty, *client_); });
    }

    async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline, OptionalTimeout) override {
        auto content = std::make_shared<const OutgoingMessage>(message);
        if (message.body.size() >= piece_size) check_in_time(deadline);  // a large body takes time to copy
        const Broker::PublishResult result = guarded([&] { return broker_->publish(std::move(content), last_route_); });
        if (result.queues == 0 && message.metadata->mandatory)
            routing::throw_unroutable(message.metadata->exchange, message.metadata->routing_key);
        if (result.refused && has_confirms_) throw Nacked("the broker refused the message: a queue is full");
        return async::Operation<>::completed();
    }
    async::Operation<std::unique_ptr<Delivery>> basic_get(std::string_view queue, bool no_ack, Deadline) override {
        return receive(std::string{queue}, no_ack, Deadline::at({}));
    }
    async::Operation<std::unique_ptr<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                                 Deadline wait_until) override {
        return receive(queue.name(), no_ack, wait_until);
    }
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline) override {
        settle(delivery_tag, async::Settlement::acknowledge);
        co_return;
    }
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline) override {
        settle(delivery_tag, requeue ? async::Settlement::requeue : async::Settlement::reject);
        co_return;
    }

    async::Operation<> publish_later(const OutgoingMessage& message, const std::string& queue,
                                     std::chrono::milliseconds delay, Deadline) override {
        check();
        broker_->publish_at(Clock::now() + delay, queue, std::make_shared<const OutgoingMessage>(message));
        co_return;
    }
    async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline) override {
        check();
        prefetch_count_ = prefetch_count;
        co_return;
    }
    async::Operation<> basic_consume(const Queue& queue, const ConsumeOptions& options, Deadline) override {
        guarded([&] {
            Consumer& consumer = consumers_[options.tag];
            if (consumer.is_active)
                throw ChannelError("NOT_ALLOWED - consumer tag '" + options.tag + "' is in use", 530);
            consumer.is_active = true;
            consumer.tag = options.tag;
            consumer.queue = queue.name();
            consumer.client = client_.get();
            consumer.inbox = &inbox_;
            consumer.exclusive = options.exclusive;
            consumer.priority = options.priority.value_or(0);
            consumer.prefetch_count = options.no_ack ? 0 : prefetch_count_;
            consumer.no_ack = options.no_ack;
            broker_->add_consumer(consumer);
        });
        co_return;
    }
    async::Operation<> basic_cancel(std::string_view consumer_tag, Deadline) override {
        check();
        if (const auto found = consumers_.find(consumer_tag); found != consumers_.end()) {
            broker_->remove_consumer(found->second);
            found->second.is_active = false;
        }
        co_return;
    }
    std::optional<ConsumerEvent> next_event() override {
        if (!is_open()) return std::nullopt;
        auto received = broker_->take_event(*client_, inbox_);
        if (!received) return std::nullopt;
        ConsumerEvent event{received->consumer_tag, nullptr};
        if (!received->message) return event;
        Consumer& consumer = consumers_.find(received->consumer_tag)->second;
        event.delivery = deliver(std::move(*received->message), consumer.no_ack, &consumer);
        return event;
    }
    bool has_event() const noexcept override { return broker_->has_event(inbox_); }
    void settle_later(std::uint64_t delivery_tag, async::Settlement settlement) override {
        check();
        if (!unsettled_.contains(delivery_tag))
            throw ChannelError("the message was delivered again: it can no longer be settled", 406);
        settle(delivery_tag, settlement);
    }
    void requeue_later(std::span<const std::uint64_t> delivery_tags) override {
        for (const std::uint64_t tag : delivery_tags) settle_later(tag, async::Settlement::requeue);
    }
    void acknowledge_until(std::uint64_t delivery_tag) override {
        check();
        while (!unsettled_.empty() && unsettled_.begin()->first <= delivery_tag)
            settle(unsettled_.begin()->first, async::Settlement::acknowledge);
    }
    async::Operation<> flush(Deadline) override {
        check();
        co_return;
    }
    async::Operation<> basic_recover(Deadline) override {
        check();
        std::vector<InboxEvent> arrived;
        while (auto event = broker_->take_event(*client_, inbox_)) arrived.push_back(std::move(*event));
        while (!unsettled_.empty()) settle(unsettled_.begin()->first, async::Settlement::requeue);
        for (InboxEvent& event : arrived) {
            if (!event.message) continue;
            broker_->requeue(std::move(*event.message));
            broker_->on_settled(consumers_.find(event.consumer_tag)->second);
        }
        co_return;
    }

private:
    struct Delivered {
        ReservedMessage message{};
        Consumer* consumer = nullptr;  // null for a message of basic_get
    };

    std::unique_ptr<Delivery> deliver(ReservedMessage reserved, bool no_ack, Consumer* consumer) {
        const OutgoingMessage& content = *reserved.message.content;
        auto delivery = std::make_unique<Delivery>();
        delivery->body = std::string_view{content.body};
        delivery->properties = content.metadata->properties;
        delivery->info = {++last_tag_, reserved.message.redelivered, content.metadata->exchange,
                          content.metadata->routing_key};
        if (const std::uint64_t count = reserved.message.delivery_count; count != 0)
            delivery->properties.headers["x-delivery-count"] = count;
        if (!no_ack) unsettled_.emplace(last_tag_, Delivered{std::move(reserved), consumer});
        return delivery;
    }

    async::Operation<std::unique_ptr<Delivery>> receive(std::string queue, bool no_ack, Deadline deadline) {
        check();
        std::optional<ReservedMessage> reserved;
        try {
            reserved = co_await broker_->reserve(std::move(queue), *client_, deadline);
        } catch (const ChannelError&) {
            close_nowait();
            throw;
        }
        std::unique_ptr<Delivery> delivery;
        if (reserved) delivery = deliver(std::move(*reserved), no_ack, nullptr);
        co_return delivery;
    }

    void settle(std::uint64_t delivery_tag, async::Settlement settlement) {
        guarded([&] {
            const auto found = unsettled_.find(delivery_tag);
            if (found == unsettled_.end())
                throw ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(delivery_tag), 406);
            Delivered delivered = std::move(found->second);
            unsettled_.erase(found);
            // Before its consumer may have more: they come after this message.
            if (settlement == async::Settlement::requeue) broker_->requeue(std::move(delivered.message));
            if (settlement == async::Settlement::reject) broker_->reject(std::move(delivered.message));
            if (delivered.consumer) broker_->on_settled(*delivered.consumer);
        });
    }

    std::shared_ptr<Broker> broker_;
    std::shared_ptr<Client> client_;
    const bool has_confirms_;
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, Delivered> unsettled_;
    std::uint16_t prefetch_count_ = 0;
    // A cancelled consumer stays until the channel is closed: messages refer to it.
    std::map<std::string, Consumer, std::less<>> consumers_;
    std::deque<InboxEvent> inbox_;
    Broker::Route last_route_{};
};

class MemoryConnection final : public TransportConnection {
public:
    MemoryConnection(std::shared_ptr<Broker> broker, bool has_confirms)
        : broker_(std::move(broker)), has_confirms_(has_confirms) {}
    ~MemoryConnection() override { MemoryConnection::abandon(); }

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline) override {
        client_->check();
        std::erase_if(channels_, [](const auto& channel) { return channel.expired(); });
        auto channel = std::make_shared<MemoryChannel>(broker_, client_, has_confirms_);
        channels_.push_back(channel);
        co_return channel;
    }
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool) override {
        return broker_->await_events(*client_, std::min(until, wake_at));
    }
    bool is_open() const noexcept override {
        return !client_->closed && !client_->interrupted && !client_->is_inherited();
    }
    async::Operation<BrokerInfo> broker_info(Deadline) override {
        client_->check();
        co_return BrokerInfo{.product = "memory", .version = KOMBU_VERSION_STRING};
    }
    bool is_alive() noexcept override { return is_open(); }
    async::Operation<> close(Deadline) override {
        abandon();
        co_return;
    }
    void abandon() noexcept override {
        if (client_->closed.exchange(true) || client_->is_inherited()) return;
        for (const auto& weak_channel : channels_)
            if (const auto channel = weak_channel.lock()) channel->close_nowait();
        broker_->disconnect(*client_);
    }
    void interrupt() noexcept override {
        client_->interrupted = true;
        broker_->interrupt(*client_);
    }

private:
    std::shared_ptr<Broker> broker_;
    const bool has_confirms_;
    std::shared_ptr<Client> client_ = std::make_shared<Client>();
    std::vector<std::weak_ptr<TransportChannel>> channels_;
};

class MemoryTransport final : public Transport {
public:
    /// Only the host name and the virtual host identify a broker.
    void normalise(Endpoint& endpoint) const override {
        endpoint.port = 0;
        endpoint.userid.clear();
        endpoint.password = {};
    }

    /// As RabbitMQ.
    void check_headers(const Json& headers) const override { kombu::check_headers(headers, amqp_rules); }

    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                   const ConnectionParameters& parameters,
                                                                   Deadline) const override {
        Brokers& brokers = brokers_.get();
        std::lock_guard lock{brokers.mutex};
        auto& broker = brokers.by_name[{endpoint.hostname, endpoint.virtual_host}];
        if (!broker) broker = std::make_shared<Broker>();
        co_return std::make_shared<MemoryConnection>(broker, parameters.confirm_publish());
    }

private:
    /// A broker outlives its clients. A forked child has brokers of its own, without messages.
    struct Brokers {
        std::mutex mutex{};
        std::map<std::pair<std::string, std::string>, std::shared_ptr<Broker>> by_name{};
    };
    mutable kombu::detail::ForkLocal<Brokers> brokers_;
};

}  // namespace

std::shared_ptr<const Transport> make_transport() { return std::make_shared<MemoryTransport>(); }

}  // namespace kombu::memory
