// SPDX-License-Identifier: BSD-3-Clause
#include "memory/transport.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>

#include "memory/broker.hpp"
#include "messages/forbidden_value.hpp"
#include "virtual/amqp_errors.hpp"

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
    MemoryChannel(std::shared_ptr<Broker> broker, std::shared_ptr<Client> client)
        : broker_(std::move(broker)), client_(std::move(client)) {}
    ~MemoryChannel() override { MemoryChannel::close_nowait(); }

    bool is_open() const noexcept override { return open_ && !client_->interrupted && !client_->is_inherited(); }
    std::size_t unsettled() const noexcept override { return unsettled_.size(); }
    async::Operation<> close(Deadline) override {
        close_nowait();
        co_return;
    }
    bool close_nowait() noexcept override {
        open_ = false;
        if (client_->is_inherited()) return true;
        // In reverse order, so that each message is inserted at the front.
        for (auto it = unsettled_.rbegin(); it != unsettled_.rend(); ++it) broker_->requeue(std::move(it->second));
        unsettled_.clear();
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
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline) override {
        co_return guarded([&] { return broker_->queue_purge(name, *client_); });
    }
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline) override {
        co_return guarded([&] { return broker_->queue_delete(name, if_unused, if_empty, *client_); });
    }

    async::Operation<> basic_publish(const OutgoingMessage& message, Deadline, OptionalTimeout) override {
        const std::size_t routed =
            guarded([&] { return broker_->publish(std::make_shared<const OutgoingMessage>(message)); });
        if (routed == 0 && message.metadata->mandatory)
            routing::throw_unroutable(message.metadata->exchange, message.metadata->routing_key);
        co_return;
    }
    async::Operation<std::optional<Delivery>> basic_get(std::string_view queue, bool no_ack, Deadline) override {
        return receive(std::string{queue}, no_ack, Deadline::at({}));
    }
    async::Operation<std::optional<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                               Deadline wait_until) override {
        return receive(queue.name(), no_ack, wait_until);
    }
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline) override {
        settle(delivery_tag);
        co_return;
    }
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline) override {
        ReservedMessage reserved = settle(delivery_tag);
        if (requeue) broker_->requeue(std::move(reserved));
        co_return;
    }

private:
    async::Operation<std::optional<Delivery>> receive(std::string queue, bool no_ack, Deadline deadline) {
        check();
        std::optional<ReservedMessage> reserved;
        try {
            reserved = co_await broker_->reserve(std::move(queue), *client_, deadline);
        } catch (const ChannelError&) {
            close_nowait();
            throw;
        }
        std::optional<Delivery> delivery;
        if (reserved) {
            const OutgoingMessage& content = *reserved->message.content;
            delivery = Delivery{content.body,
                                content.metadata->properties,
                                {++last_tag_, reserved->message.redelivered, content.metadata->exchange,
                                 content.metadata->routing_key}};
            if (!no_ack) unsettled_.emplace(last_tag_, std::move(*reserved));
        }
        co_return delivery;
    }

    ReservedMessage settle(std::uint64_t delivery_tag) {
        return guarded([&] {
            const auto found = unsettled_.find(delivery_tag);
            if (found == unsettled_.end())
                throw ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(delivery_tag), 406);
            ReservedMessage reserved = std::move(found->second);
            unsettled_.erase(found);
            return reserved;
        });
    }

    std::shared_ptr<Broker> broker_;
    std::shared_ptr<Client> client_;
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, ReservedMessage> unsettled_;
};

class MemoryConnection final : public TransportConnection {
public:
    explicit MemoryConnection(std::shared_ptr<Broker> broker) : broker_(std::move(broker)) {}
    ~MemoryConnection() override { MemoryConnection::abandon(); }

    async::Operation<std::shared_ptr<TransportChannel>> open_channel(Deadline) override {
        if (!is_open()) throw ConnectionError("the connection is closed");
        std::erase_if(channels_, [](const auto& channel) { return channel.expired(); });
        auto channel = std::make_shared<MemoryChannel>(broker_, client_);
        channels_.push_back(channel);
        co_return channel;
    }
    bool is_open() const noexcept override { return open_ && !client_->interrupted && !client_->is_inherited(); }
    bool is_alive() noexcept override { return is_open(); }
    async::Operation<> close(Deadline) override {
        abandon();
        co_return;
    }
    void abandon() noexcept override {
        if (!std::exchange(open_, false) || client_->is_inherited()) return;
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
    std::shared_ptr<Client> client_ = std::make_shared<Client>();
    std::vector<std::weak_ptr<TransportChannel>> channels_;
    bool open_ = true;
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
                                                                   const ConnectionParameters&,
                                                                   Deadline) const override {
        Brokers& brokers = brokers_.get();
        std::lock_guard lock{brokers.mutex};
        auto& broker = brokers.by_name[{endpoint.hostname, endpoint.virtual_host}];
        if (!broker) broker = std::make_shared<Broker>();
        co_return std::make_shared<MemoryConnection>(broker);
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
