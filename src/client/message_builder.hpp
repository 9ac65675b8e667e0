// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/entity.hpp>
#include <kombu/operation.hpp>
#include <kombu/producer.hpp>
#include <kombu/serialization.hpp>
#include <kombu/transport.hpp>

#include "client/connection_state.hpp"
#include "messages/encoding.hpp"

#include <atomic>
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
    /// The use of a builder, unless it is in use already: a serializer may publish too.
    class Guard {
    public:
        explicit Guard(MessageBuilder& builder) noexcept
            : builder_(builder), owns_(!builder.in_use_.exchange(true, std::memory_order_acquire)) {}
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        ~Guard() {
            if (owns_) builder_.in_use_.store(false, std::memory_order_release);
        }
        bool owns() const noexcept { return owns_; }

    private:
        MessageBuilder& builder_;
        const bool owns_;
    };

    /// How to publish, beside the body.
    struct Request {
        const PublishOptions& options;
        const ProducerOptions& producer;
        const detail::ConnectionConfig& config;
        Deadline deadline;
        BodyStorage storage;
    };
    /// Encodes a body by the options of the publish, else of the producer.
    /// \throws EncodeError, SerializerNotInstalled  and ConfigurationError, which names the field
    /// \throws Timeout  when the deadline passes meanwhile
    OutgoingMessage build(const Json& body, const Request& request);
    OutgoingMessage build(std::string_view body, const Request& request);
    OutgoingMessage build(std::span<const std::byte> body, const Request& request);

private:
    OutgoingMessage build_encoded(SerializedBody body, const Request& request);
    const std::shared_ptr<const MessageMetadata>& metadata_for(const PublishOptions& options,
                                                               const ProducerOptions& producer,
                                                               const SerializedBody& body, std::string_view compression,
                                                               const Transport& transport);

    std::atomic<bool> in_use_{false};
    SerializerCache serializers_{};
    std::shared_ptr<const MessageMetadata> metadata_{};
    // What the metadata was built of.
    PublishOptions options_{};
    std::optional<Exchange> exchange_{};
    std::string routing_key_{};
};

/// MessageBuilder::build() by the connection's builder, or by another one while that one is in use.
template <class Body>
OutgoingMessage build_message(const Body& body, const PublishOptions& options, const ProducerOptions& producer,
                              detail::ConnectionState& connection, Deadline deadline, BodyStorage storage) {
    MessageBuilder& builder = connection.message_builder();
    const MessageBuilder::Guard guard{builder};
    const MessageBuilder::Request request{options, producer, connection.config(), deadline, storage};
    return guard.owns() ? builder.build(body, request) : MessageBuilder{}.build(body, request);
}

/// The producer's own exchange, when a publish with these options declares it; otherwise null.
const Exchange* exchange_to_declare(const PublishOptions& options, const ProducerOptions& producer);
/// All that a publish with these options declares.
std::vector<Entity> entities_to_declare(const PublishOptions& options, const ProducerOptions& producer);

bool is_declared(const detail::ConnectionState& connection, const Entity& entity);
async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline);

}  // namespace kombu
