// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/channel.hpp>
#include <kombu/compression.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>
#include <kombu/transport.hpp>

#include "client/connection_state.hpp"
#include "net/blocking_driver.hpp"

#include <utility>

namespace kombu {
namespace {

const std::string& or_empty(const std::optional<std::string>& text) {
    static const std::string empty;
    return text ? *text : empty;
}

}  // namespace

struct Message::Data {
    Delivery delivery;
    detail::ChannelHandle channel;
    bool no_ack;
    ContentTypes accept;
    std::optional<async::Settlement> settled{};
    std::optional<std::string> body{};
    std::optional<Json> payload{};
};

Message::Message(Delivery delivery, detail::ChannelHandle channel, bool no_ack, ContentTypes accept)
    : data_(new Data{std::move(delivery), std::move(channel), no_ack, std::move(accept)}) {}
Message::Message() noexcept = default;
Message::Message(Message&&) noexcept = default;
Message& Message::operator=(Message&&) noexcept = default;
Message::~Message() = default;

Message::Data& Message::data() const {
    if (!data_) throw MessageStateError("the message was moved from");
    return *data_;
}

const std::string& Message::raw_body() const { return data().delivery.body; }

const std::string& Message::body() const {
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

const std::string& Message::content_type() const { return or_empty(properties().content_type); }
const std::string& Message::content_encoding() const { return or_empty(properties().content_encoding); }
const Json& Message::headers() const {
    if (const auto& error = data().delivery.header_error) throw DecodeError(*error);
    return properties().headers;
}
const Properties& Message::properties() const { return data().delivery.properties; }
const DeliveryInfo& Message::delivery_info() const { return data().delivery.info; }
bool Message::acknowledged() const { return data().no_ack || data().settled.has_value(); }

void Message::ack() { net::run(async::Operations::settle(*this, async::Settlement::acknowledge)); }
void Message::reject(bool requeue) {
    net::run(async::Operations::settle(*this, requeue ? async::Settlement::requeue : async::Settlement::reject));
}

async::Operation<> async::Operations::settle(Message& message, Settlement settlement) {
    Message::Data& data = message.data();
    if (data.no_ack) co_return;
    if (data.settled) {
        const char* const names[] = {"acknowledged", "rejected", "requeued"};
        throw MessageStateError(std::string{"the message is settled already: it was "} +
                                names[static_cast<std::size_t>(*data.settled)]);
    }
    const detail::ChannelHandle handle = data.channel;
    TransportChannel& channel = handle.checked();
    const Deadline deadline = handle.deadline({});
    const kombu::detail::ConnectionState::OperationGuard guard{handle.connection().checked()};
    if (settlement == Settlement::acknowledge)
        co_await channel.basic_ack(data.delivery.info.delivery_tag, deadline);
    else
        co_await channel.basic_reject(data.delivery.info.delivery_tag, settlement == Settlement::requeue, deadline);
    data.settled = settlement;
}

}  // namespace kombu
