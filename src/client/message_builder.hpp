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
#include <chrono>
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
/// It remembers the last message for the next one with the same options: building its metadata takes a large part of a
/// publish, and the options rarely change from one message to the next. One thread at a time.
class MessageBuilder {
public:
    /// The use of a connection's builder, or of another one while that one is in use: a serializer may publish too. The
    /// messages that it builds refer to the builder, and to bodies of the caller that need no encoding.
    class Use {
    public:
        explicit Use(MessageBuilder& builder) : builder_(builder) {
            if (builder.in_use_.exchange(true, std::memory_order_acquire)) other_ = std::make_unique<MessageBuilder>();
        }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use() {
            if (other_) return;
            builder_.drop_large_buffers();
            builder_.in_use_.store(false, std::memory_order_release);
        }
        MessageBuilder* operator->() const noexcept { return other_ ? other_.get() : &builder_; }

    private:
        MessageBuilder& builder_;
        std::unique_ptr<MessageBuilder> other_{};
    };

    /// How to publish, beside the body.
    struct Request {
        const PublishOptions& options;
        const ProducerOptions& producer;
        const detail::ConnectionConfig& config;
        Deadline deadline;
    };
    /// Encodes a body by the options of the publish, else of the producer. The result is valid until the next use or
    /// take(), and its body may be the caller's: counting references costs as much as encoding a short body.
    /// \throws EncodeError, SerializerNotInstalled  and ConfigurationError, which names the field
    /// \throws Timeout  when the deadline passes meanwhile
    const OutgoingMessage& build(const Json& body, const Request& request);
    const OutgoingMessage& build(std::string_view body, const Request& request);
    const OutgoingMessage& build(std::span<const std::byte> body, const Request& request);
    /// The message that was built last, with a body of its own.
    /// \throws Timeout  when the deadline passes meanwhile
    OutgoingMessage take(Deadline deadline);

private:
    const OutgoingMessage& build_encoded(const SerializedBody& body, const Request& request);
    void set_metadata(const PublishOptions& options, const ProducerOptions& producer, const SerializedBody& body,
                      std::string_view compression, const Transport& transport);

    void drop_large_buffers() noexcept;

    std::atomic<bool> in_use_{false};
    SerializerCache serializers_{};
    std::string encoded_{}, compressed_{};
    OutgoingMessage message_{};
    // What the metadata was built of and does not have, or not in a form that is quickly compared.
    std::optional<Exchange> exchange_{};
    std::string compression_{};
    std::optional<std::chrono::duration<double>> expiration_{};
};

/// The producer's own exchange, when a publish with these options declares it; otherwise null.
const Exchange* exchange_to_declare(const PublishOptions& options, const ProducerOptions& producer);
/// All that a publish with these options declares.
std::vector<Entity> entities_to_declare(const PublishOptions& options, const ProducerOptions& producer);

bool is_declared(const detail::ConnectionState& connection, const Entity& entity);
async::Operation<> declare_and_remember(detail::ConnectionState& connection, TransportChannel& channel,
                                        const Entity& entity, Deadline deadline);

}  // namespace kombu
