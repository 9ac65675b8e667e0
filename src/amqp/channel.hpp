#pragma once

#include <kombu/transport.hpp>

#include "amqp/session.hpp"

#include <memory>

namespace kombu::amqp {

class AmqpConnection;

/// A channel of an AmqpConnection.
class AmqpChannel final : public TransportChannel {
public:
    AmqpChannel(std::shared_ptr<AmqpConnection> connection, std::shared_ptr<ChannelState> channel);
    ~AmqpChannel() override;

    bool is_open() const noexcept override;
    std::size_t unsettled() const noexcept override {
        return channel_->unsettled.size() + static_cast<std::size_t>(channel_->cancels_under_way);
    }
    void close(Deadline deadline) override;
    bool close_nowait() noexcept override;

    void exchange_declare(const Exchange& exchange, Deadline deadline) override;
    void exchange_delete(std::string_view name, bool if_unused, Deadline deadline) override;
    QueueInfo queue_declare(const Queue& queue, Deadline deadline) override;
    void queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                    const Json& arguments, Deadline deadline) override;
    void queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                      const Json& arguments, Deadline deadline) override;
    std::uint32_t queue_purge(std::string_view name, Deadline deadline) override;
    std::uint32_t queue_delete(std::string_view name, bool if_unused, bool if_empty, Deadline deadline) override;

    void basic_publish(const OutgoingMessage& message, Deadline deadline, OptionalTimeout confirm_timeout) override;
    std::optional<Delivery> basic_get(std::string_view queue, bool no_ack, Deadline deadline) override;
    std::optional<Delivery> wait_for_message(const Queue& queue, bool no_ack, Deadline wait_until) override;
    void basic_ack(std::uint64_t delivery_tag, Deadline deadline) override;
    void basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) override;

private:
    void publish_unconfirmed(const OutgoingMessage& message, Deadline deadline);

    std::shared_ptr<AmqpConnection> connection_;
    std::shared_ptr<ChannelState> channel_;
    Deadline next_look_ = Deadline::at({});
    // The last handle to a channel may go on another thread, long after its connection has passed on to another holder.
    // It must not look at the session then; whoever ends the channel in time says so here.
    bool ended_ = false;
};

}  // namespace kombu::amqp
