// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/producer.hpp>
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

namespace kombu {

/// Turns bodies and PublishOptions into messages that are ready for a transport: encodes, compresses, validates.
///
/// It remembers the metadata of the last message for the next one with the same options: building it takes a large part
/// of a publish, and the options rarely change from one message to the next. One thread at a time.
class MessageBuilder {
public:
    /// Encodes a body by the options of the publish, else of the producer.
    /// \throws EncodeError, SerializerNotInstalled, ConfigurationError  which names the field; Timeout when the
    /// deadline
    ///   passes meanwhile
    OutgoingMessage build(const Json& body, const PublishOptions& options, const ProducerOptions& producer,
                          const detail::ConnectionConfig& config, Deadline deadline);
    OutgoingMessage build(std::string_view body, const PublishOptions& options, const ProducerOptions& producer,
                          const detail::ConnectionConfig& config, Deadline deadline);
    OutgoingMessage build(std::span<const std::byte> body, const PublishOptions& options,
                          const ProducerOptions& producer, const detail::ConnectionConfig& config, Deadline deadline);

private:
    SerializedBody encode(const Json& body, const PublishOptions& options, const ProducerOptions& producer,
                          Deadline deadline);
    SerializedBody encode(std::string_view body, const PublishOptions& options, const ProducerOptions& producer,
                          Deadline deadline);
    OutgoingMessage build_encoded(SerializedBody body, const PublishOptions& options, const ProducerOptions& producer,
                                  const detail::ConnectionConfig& config, Deadline deadline);
    const std::shared_ptr<const MessageMetadata>& metadata_for(const PublishOptions& options,
                                                               const ProducerOptions& producer,
                                                               const SerializedBody& body, std::string_view compression,
                                                               const Transport& transport);

    SerializerCache serializers_{};
    std::shared_ptr<const MessageMetadata> metadata_{};
    // What the metadata was built of.
    PublishOptions options_{};
    std::optional<Exchange> exchange_{};
    std::string routing_key_{};
};

/// MessageBuilder::build() by the connection's builder, or by another one while an operation uses the connection.
template <class Body>
OutgoingMessage build_message(const Body& body, const PublishOptions& options, const ProducerOptions& producer,
                              detail::ConnectionState& connection, Deadline deadline) {
    const detail::ConnectionState::TryOperationGuard guard{connection};
    if (guard.owns()) return connection.message_builder().build(body, options, producer, connection.config(), deadline);
    return MessageBuilder{}.build(body, options, producer, connection.config(), deadline);
}

/// The producer's own exchange, when a publish with these options declares it; otherwise null.
const Exchange* exchange_to_declare(const PublishOptions& options, const ProducerOptions& producer);
/// All that a publish with these options declares.
std::vector<Entity> entities_to_declare(const PublishOptions& options, const ProducerOptions& producer);

bool is_declared(const detail::ConnectionState& connection, const Entity& entity);
async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline);

}  // namespace kombu
