// SPDX-License-Identifier: BSD-3-Clause
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

/// Turns PublishOptions into a message ready for a transport: encodes, compresses, validates, caches metadata.
namespace kombu {

/// A message that is ready to be sent, the entities to declare before it, and its retry policy.
struct PreparedMessage {
    OutgoingMessage outgoing{};
    std::vector<Entity> declare{};
    std::optional<RetryPolicy> retry_policy{};  // set only when the publish is retried
};

/// Caches the metadata of the last message for the next one with the same options. Building it takes a large part of a
/// publish, and the options rarely change from one message to the next.
class MetadataCache {
public:
    std::shared_ptr<const MessageMetadata> metadata_for(const PublishOptions& options, const ProducerOptions& producer,
                                                        const SerializedBody& body, std::string_view compression,
                                                        const Transport& transport);

private:
    std::shared_ptr<const MessageMetadata> metadata_{};
    PublishOptions options_{};
    std::optional<Exchange> exchange_{};
    std::string routing_key_{};
};

/// Encodes a body by the options of the publish, else of the producer. Throws EncodeError, SerializerNotInstalled,
/// ConfigurationError, and Timeout when the deadline passes meanwhile.
SerializedBody encode(const Json& body, const PublishOptions& options, const ProducerOptions& producer,
                      Deadline deadline);
SerializedBody encode(std::string_view body, const PublishOptions& options, const ProducerOptions& producer,
                      Deadline deadline);
SerializedBody encode(std::span<const std::byte> body, const PublishOptions& options, const ProducerOptions& producer,
                      Deadline deadline);

/// Throws ConfigurationError that names the field when an option is invalid, and Timeout when the deadline passes while
/// the body is compressed.
PreparedMessage prepare(SerializedBody body, const PublishOptions& options, const ProducerOptions& producer,
                        detail::ConnectionState& connection, Deadline deadline);

bool is_declared(const detail::ConnectionState& connection, const Entity& entity);
async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline);

}  // namespace kombu
