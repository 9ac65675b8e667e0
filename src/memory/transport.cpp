#include "memory/transport.hpp"

#include <kombu/detail/per_process.hpp>
#include <kombu/error.hpp>

#include "memory/broker.hpp"

#include <map>
#include <mutex>
#include <utility>

namespace kombu::memory {
namespace {

class MemoryConnection;

class MemoryChannel final : public TransportChannel {
    /// Runs an operation as a broker would: one that it refuses costs the channel.
    template <class Operation>
    auto guarded(Operation operation) {
        if (client_->is_inherited())
            throw ConnectionError("the connection belongs to the process that forked this one");
        if (client_->interrupted) throw ConnectionError("the connection was interrupted");
        if (!open_) throw ChannelError("the channel is closed");
        try {
            return operation();
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
    void close(Deadline) override { close_nowait(); }
    bool close_nowait() noexcept override {
        open_ = false;
        if (client_->is_inherited()) return true;
        // The last one first, so that each finds its place at the front.
        for (auto at = unsettled_.rbegin(); at != unsettled_.rend(); ++at) broker_->give_back(std::move(at->second));
        unsettled_.clear();
        return true;
    }

    void exchange_declare(const Exchange& exchange, Deadline) override {
        guarded([&] { broker_->exchange_declare(exchange); });
    }
    void exchange_delete(std::string_view name, bool if_unused, Deadline) override {
        guarded([&] { broker_->exchange_delete(name, if_unused); });
    }
    QueueInfo queue_declare(const Queue& queue, Deadline) override {
        return guarded([&] { return broker_->queue_declare(queue, *client_); });
    }
    void queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                    const Json& arguments, Deadline) override {
        guarded([&] { broker_->queue_bind(queue, exchange, routing_key, arguments, *client_); });
    }
    void queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                      const Json& arguments, Deadline) override {
        guarded([&] { broker_->queue_unbind(queue, exchange, routing_key, arguments, *client_); });
    }
    std::uint32_t queue_purge(std::string_view name, Deadline) override {
        return guarded([&] { return broker_->queue_purge(name, *client_); });
    }
    std::uint32_t queue_delete(std::string_view name, bool if_unused, bool if_empty, Deadline) override {
        return guarded([&] { return broker_->queue_delete(name, if_unused, if_empty, *client_); });
    }

    void basic_publish(const OutgoingMessage& message, Deadline, OptionalTimeout) override {
        const std::size_t routed =
            guarded([&] { return broker_->publish(std::make_shared<const OutgoingMessage>(message)); });
        if (routed == 0 && message.mandatory)
            throw Unroutable(
                "NO_ROUTE - exchange '" + message.exchange + "' has no queue for '" + message.routing_key + "'", 312);
    }
    std::optional<Delivery> basic_get(std::string_view queue, bool no_ack, Deadline) override {
        return take(queue, no_ack, Deadline::at({}));
    }
    std::optional<Delivery> wait_for_message(const Queue& queue, bool no_ack, Deadline wait_until) override {
        return take(queue.name(), no_ack, wait_until);
    }
    void basic_ack(std::uint64_t delivery_tag, Deadline) override { settle(delivery_tag); }
    void basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline) override {
        Taken taken = settle(delivery_tag);
        if (requeue) broker_->give_back(std::move(taken));
    }

private:
    std::optional<Delivery> take(std::string_view queue, bool no_ack, Deadline deadline) {
        auto taken = guarded([&] { return broker_->take(queue, *client_, deadline); });
        if (!taken) return std::nullopt;
        const OutgoingMessage& content = *taken->message.content;
        Delivery delivery{content.body,
                          content.properties,
                          {++last_tag_, taken->message.redelivered, content.exchange, content.routing_key}};
        if (!no_ack) unsettled_.emplace(last_tag_, std::move(*taken));
        return delivery;
    }

    Taken settle(std::uint64_t delivery_tag) {
        return guarded([&] {
            const auto found = unsettled_.find(delivery_tag);
            if (found == unsettled_.end())
                throw ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(delivery_tag), 406);
            Taken taken = std::move(found->second);
            unsettled_.erase(found);
            return taken;
        });
    }

    std::shared_ptr<Broker> broker_;
    std::shared_ptr<Client> client_;
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, Taken> unsettled_;
};

class MemoryConnection final : public TransportConnection {
public:
    explicit MemoryConnection(std::shared_ptr<Broker> broker) : broker_(std::move(broker)) {}
    ~MemoryConnection() override { MemoryConnection::abandon(); }

    std::shared_ptr<TransportChannel> open_channel(Deadline) override {
        if (!is_open()) throw ConnectionError("the connection is closed");
        std::erase_if(channels_, [](const auto& channel) { return channel.expired(); });
        auto channel = std::make_shared<MemoryChannel>(broker_, client_);
        channels_.push_back(channel);
        return channel;
    }
    bool is_open() const noexcept override { return open_ && !client_->interrupted && !client_->is_inherited(); }
    bool is_alive() noexcept override { return is_open(); }
    void close(Deadline) noexcept override { abandon(); }
    void abandon() noexcept override {
        if (!std::exchange(open_, false) || client_->is_inherited()) return;
        for (const auto& known : channels_)
            if (const auto channel = known.lock()) channel->close_nowait();
        broker_->forget(*client_);
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
    /// Only the name counts; a path belongs to it.
    void normalise(Endpoint& endpoint) const override {
        endpoint.port = 0;
        endpoint.userid.clear();
        endpoint.password = {};
    }

    std::shared_ptr<TransportConnection> connect(const Endpoint& endpoint, const ConnectionParameters&,
                                                 Deadline) const override {
        Brokers& brokers = brokers_.get();
        std::lock_guard lock{brokers.mutex};
        auto& broker = brokers.by_name[{endpoint.hostname, endpoint.virtual_host}];
        if (!broker) broker = std::make_shared<Broker>();
        return std::make_shared<MemoryConnection>(broker);
    }

private:
    /// A broker stays when its clients leave, as brokers do. A forked child has brokers of its own, without messages.
    struct Brokers {
        std::mutex mutex{};
        std::map<std::pair<std::string, std::string>, std::shared_ptr<Broker>> by_name{};
    };
    mutable kombu::detail::PerProcess<Brokers> brokers_;
};

}  // namespace

std::shared_ptr<const Transport> make_transport() { return std::make_shared<MemoryTransport>(); }

}  // namespace kombu::memory
