#pragma once

#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/producer.hpp>
#include <kombu/retry.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "client/connection_state.hpp"
#include "messages/encoding.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What lies between the options of a publish and what a transport sends.
namespace kombu {

/// A message that is ready to be sent, and what has to be done for it.
struct PreparedMessage {
    OutgoingMessage outgoing{};
    std::vector<Entity> declare{};
    std::optional<RetryPolicy> retry_policy{};  // only when it is to be retried
};

/// The last head that was made, for the next message with the same options. Making one costs much of a publish, and
/// options rarely change from one to the next.
class HeadCache {
public:
    std::shared_ptr<const MessageHead> head_for(const PublishOptions& options, const ProducerOptions& producer,
                                                const SerializedBody& body, std::string_view compression);

private:
    std::shared_ptr<const MessageHead> head_{};
    PublishOptions options_{};
    std::optional<Exchange> exchange_{};
    std::string routing_key_{};
};

/// The bytes of a body, by the options of the publish, else of the producer. Throws EncodeError,
/// SerializerNotInstalled and ConfigurationError.
SerializedBody encode(const Json& body, const PublishOptions& options, const ProducerOptions& producer);
SerializedBody encode(std::string_view body, const PublishOptions& options, const ProducerOptions& producer);
SerializedBody encode(std::span<const std::byte> body, const PublishOptions& options, const ProducerOptions& producer);

/// Throws ConfigurationError, naming the field, for options that cannot be.
PreparedMessage prepare(SerializedBody body, const PublishOptions& options, const ProducerOptions& producer,
                        detail::ConnectionState& connection);

bool is_declared(const detail::ConnectionState& connection, const Entity& entity);
async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline);

}  // namespace kombu
