// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/channel.hpp>
#include <kombu/compression.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>
#include <kombu/transport.hpp>

#include "client/client_access.hpp"
#include "client/connection_state.hpp"
#include "client/consumer_state.hpp"
#include "client/message_settler.hpp"
#include "net/blocking_driver.hpp"

#include <exception>
#include <new>
#include <utility>

namespace kombu {
namespace {

const std::string& or_empty(const std::optional<std::string>& text) {
    static const std::string empty;
    return text ? *text : empty;
}

}  // namespace

struct Message::Data {
    Data(std::unique_ptr<Delivery> received, detail::ChannelHandle on, bool without_ack, ContentTypes accepted,
         std::shared_ptr<detail::MessageSettler> settled_by)
        : delivery(std::move(received)),
          channel(std::move(on)),
          no_ack(without_ack),
          accept(std::move(accepted)),
          settler(std::move(settled_by)) {
        if (auto* const connection = channel.connection().state()) connection->counters().received(*delivery);
    }
    Data(const Data&) = delete;
    Data& operator=(const Data&) = delete;
    ~Data() {
        if (settler && !settled && !no_ack) settler->on_dropped(channel, delivery->info.delivery_tag);
    }

    /// Decodes the headers, which costs more than all the rest: only for who asks for them.
    void decode_headers() {
        if (are_headers_decoded) return;
        if (!delivery->encoded_headers.empty()) {
            Json& headers = delivery->properties.headers;
            try {
                Json decoded = delivery->encoded_headers.decode();
                if (!headers.empty()) decoded.update(headers);
                headers = std::move(decoded);
            } catch (const std::bad_alloc&) {
                throw;  // it may succeed later
            } catch (const std::exception& error) {
                headers_error = error.what();
            }
        }
        are_headers_decoded = true;
    }
    /// The same before and after they are decoded.
    bool may_have_header(std::string_view name) const noexcept {
        return delivery->encoded_headers.empty() || !delivery->properties.headers.empty() ||
               delivery->encoded_headers.may_have(name);
    }

    void set_settled(async::Settlement how) noexcept {
        settled = how;
        if (auto* const connection = channel.connection().state()) connection->counters().settled(how);
    }

    std::unique_ptr<Delivery> delivery;
    detail::ChannelHandle channel;
    bool no_ack;
    ContentTypes accept;
    std::shared_ptr<detail::MessageSettler> settler;
    std::optional<async::Settlement> settled{};
    bool are_headers_decoded = false;
    std::optional<std::string> headers_error{};  // beside that of the delivery: a body may be readable all the same
    std::optional<std::string> body{};
    std::optional<Json> payload{};
};

Message::Message(std::unique_ptr<Delivery> delivery, detail::ChannelHandle channel, bool no_ack, ContentTypes accept,
                 std::shared_ptr<detail::MessageSettler> settler)
    : data_(std::make_unique<Data>(std::move(delivery), std::move(channel), no_ack, std::move(accept),
                                   std::move(settler))) {}
Message::Message() noexcept = default;
Message::Message(Message&&) noexcept = default;
Message& Message::operator=(Message&&) noexcept = default;
Message::~Message() = default;

Message::Data& Message::data() const {
    if (!data_) throw MessageStateError("the message was moved from");
    return *data_;
}

const std::string& Message::raw_body() const { return data().delivery->body; }

const std::string& Message::body() const {
    if (const auto& error = data().delivery->header_error) throw DecodeError(*error);
    if (!data().may_have_header("compression")) return raw_body();
    const Json& headers = this->headers();
    const auto compression = headers.find("compression");
    if (compression == headers.end() || compression->is_null()) return raw_body();
    if (!data().body) {
        if (!compression->is_string()) throw DecodeError("the compression header is not text");
        try {
            data().body = decompress(raw_body(), compression->get_ref<const std::string&>());
        } catch (const SerializerNotInstalled& error) {
            throw DecodeError(error.what());
        }
    }
    return *data().body;
}

const Json& Message::payload() const {
    if (!data().payload) {
        // Checked before the body is decompressed.
        if (!data().accept.accepts(content_type()))
            (void)decode_body({}, content_type(), content_encoding(), data().accept);
        data().payload = decode_body(body(), content_type(), content_encoding(), data().accept);
    }
    return *data().payload;
}

const std::string& Message::content_type() const { return or_empty(data().delivery->properties.content_type); }
const std::string& Message::content_encoding() const { return or_empty(data().delivery->properties.content_encoding); }
const Json& Message::headers() const {
    const Properties& properties = this->properties();
    if (const auto& error = data().delivery->header_error) throw DecodeError(*error);
    if (const auto& error = data().headers_error) throw DecodeError(*error);
    return properties.headers;
}
const Properties& Message::properties() const {
    data().decode_headers();
    return data().delivery->properties;
}
const DeliveryInfo& Message::delivery_info() const { return data().delivery->info; }
bool Message::acknowledged() const { return data().no_ack || data().settled.has_value(); }

void Message::settle(async::Settlement settlement) {
    if (data().no_ack) return;
    check_unsettled();
    // Without an operation, whose frames cost more than the rest.
    const bool is_settled = data().settler && data().settler->try_settle(data().channel, delivery_tag(), settlement);
    if (is_settled)
        data().set_settled(settlement);
    else
        net::run(async::Operations::settle(*this, settlement));
}
void Message::ack() { settle(async::Settlement::acknowledge); }
void Message::reject(bool requeue) { settle(requeue ? async::Settlement::requeue : async::Settlement::reject); }

const detail::ChannelHandle& detail::ClientAccess::channel_of(const Message& message) { return message.data().channel; }

bool detail::ClientAccess::has_header_error(const Message& message) {
    Message::Data& data = message.data();
    data.decode_headers();
    return data.delivery->header_error || data.headers_error;
}

bool detail::ClientAccess::may_have_header(const Message& message, std::string_view name) {
    return message.data().may_have_header(name);
}

void detail::ClientAccess::mark_settled(Message& message, async::Settlement settlement) {
    message.check_unsettled();
    message.data().set_settled(settlement);
}

void detail::ClientAccess::restore_delivery_info(Message& message, const char* exchange, const char* routing_key) {
    if (!may_have_header(message, exchange) && !may_have_header(message, routing_key)) return;
    Delivery& delivery = *message.data().delivery;
    const Json& headers = message.properties().headers;
    if (!headers.is_object()) return;
    const auto restore = [&](const char* header, std::string& field) {
        if (const auto found = headers.find(header); found != headers.end() && found->is_string())
            field = found->get<std::string>();
    };
    restore(exchange, delivery.info.exchange);
    restore(routing_key, delivery.info.routing_key);
}

void Message::check_unsettled() const {
    if (!data().settled) return;
    const char* const names[] = {"acknowledged", "rejected", "requeued"};
    throw MessageStateError(std::string{"the message is settled already: it was "} +
                            names[static_cast<std::size_t>(*data().settled)]);
}

async::Operation<> async::Operations::settle(Message& message, Settlement settlement) {
    Message::Data& data = message.data();
    if (data.no_ack) co_return;
    message.check_unsettled();
    if (const auto settler = data.settler) {
        co_await settler->settle(data.channel, data.delivery->info.delivery_tag, settlement);
        data.set_settled(settlement);
        co_return;
    }
    const detail::ChannelHandle handle = data.channel;
    TransportChannel& channel = handle.checked();
    const Deadline deadline = handle.deadline({});
    const kombu::detail::ConnectionState::OperationGuard guard{handle.connection().checked()};
    if (settlement == Settlement::acknowledge)
        co_await channel.basic_ack(data.delivery->info.delivery_tag, deadline);
    else
        co_await channel.basic_reject(data.delivery->info.delivery_tag, settlement == Settlement::requeue, deadline);
    data.set_settled(settlement);
}

async::Operation<> async::Operations::acknowledge_until(kombu::detail::ConsumerState& consumer, Message& message) {
    Message::Data& data = message.data();
    if (data.no_ack) co_return;
    message.check_unsettled();
    co_await consumer.acknowledge_until(data.channel, data.delivery->info.delivery_tag);
    data.set_settled(Settlement::acknowledge);
}

}  // namespace kombu
