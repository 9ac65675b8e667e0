#pragma once

#include <kombu/transport.hpp>

#include "redis/operations.hpp"
#include "redis/subscriptions.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace kombu::redis {

class RedisConnection;

/// A channel of a RedisConnection: what its user holds, and what AMQP would know of it. Redis has no channels.
class RedisChannel final : public TransportChannel {
public:
    explicit RedisChannel(std::shared_ptr<RedisConnection> connection);
    ~RedisChannel() override;

    bool is_open() const noexcept override;
    std::size_t unsettled() const noexcept override { return held_.size() + inboxes_.size(); }
    async::Operation<> close(Deadline deadline) override;
    bool close_nowait() noexcept override;

    async::Operation<> exchange_declare(const Exchange& exchange, Deadline deadline) override;
    async::Operation<> exchange_delete(std::string_view name, bool if_unused, Deadline deadline) override;
    async::Operation<QueueInfo> queue_declare(const Queue& queue, Deadline deadline) override;
    async::Operation<> queue_bind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                  const Json& arguments, Deadline deadline) override;
    async::Operation<> queue_unbind(std::string_view queue, std::string_view exchange, std::string_view routing_key,
                                    const Json& arguments, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline deadline) override;
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline deadline) override;

    async::Operation<> basic_publish(const OutgoingMessage& message, Deadline deadline,
                                     OptionalTimeout confirm_timeout) override;
    async::Operation<std::vector<std::exception_ptr>> basic_publish_all(std::span<const OutgoingMessage> messages,
                                                                        Deadline deadline,
                                                                        OptionalTimeout confirm_timeout) override;
    async::Operation<> prepare_to_receive(const Queue& queue, Deadline deadline) override;
    async::Operation<std::optional<Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                        Deadline deadline) override;
    async::Operation<std::optional<Delivery>> wait_for_message(const Queue& queue, bool no_ack,
                                                               Deadline wait_until) override;
    async::Operation<> basic_ack(std::uint64_t delivery_tag, Deadline deadline) override;
    async::Operation<> basic_reject(std::uint64_t delivery_tag, bool requeue, Deadline deadline) override;

private:
    /// A message with the user, without what the user got of it.
    struct Held {
        Taken taken{};
        Inbox* inbox = nullptr;
    };

    void check() const;
    /// Runs an operation; what it is refused costs the channel, as with AMQP, but for what may pass.
    template <class T>
    async::Operation<T> guarded(async::Operation<T> operation, Deadline deadline);
    /// Null for a queue that is bound to no fanout exchange here.
    Inbox* inbox_of(std::string_view queue);
    async::Operation<std::optional<Delivery>> receive(std::string queue, bool no_ack, Deadline until,
                                                      Deadline deadline);
    Delivery hand_over(Taken taken, bool no_ack, Inbox* inbox);
    Held& held(std::uint64_t delivery_tag);

    std::shared_ptr<RedisConnection> connection_;
    WayCache ways_{};
    std::map<std::uint64_t, Held> held_{};
    std::map<std::string, Inbox, std::less<>> inboxes_{};
    std::uint64_t last_tag_ = 0;
    bool open_ = true;
    // The last handle to a channel may go on another thread, long after its connection has passed on to another holder.
    // It must not look at the session then; whoever ends the channel in time says so here.
    bool ended_ = false;
};

}  // namespace kombu::redis
