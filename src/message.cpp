#include <kombu/channel.hpp>
#include <kombu/compression.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>
#include <kombu/transport.hpp>

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
    State state = State::received;
    std::optional<std::string> body{};
    std::optional<Json> payload{};
};

Message::Message(Delivery delivery, detail::ChannelHandle channel, bool no_ack, ContentTypes accept)
    : data_(new Data{std::move(delivery), std::move(channel), no_ack, std::move(accept)}) {}
Message::Message(Message&&) noexcept = default;
Message& Message::operator=(Message&&) noexcept = default;
Message::~Message() = default;

const std::string& Message::raw_body() const noexcept { return data_->delivery.body; }

const std::string& Message::body() const {
    const Json& headers = this->headers();
    const auto compression = headers.find("compression");
    if (compression == headers.end() || compression->is_null()) return raw_body();
    if (!data_->body) {
        if (!compression->is_string()) throw DecodeError("the compression header is not text");
        try {
            data_->body = decompress(raw_body(), compression->get_ref<const std::string&>());
        } catch (const SerializerNotInstalled& error) {
            throw DecodeError(error.what());
        }
    }
    return *data_->body;
}

const Json& Message::payload() const {
    if (!data_->payload) {
        // Refused before anything is done to the body.
        if (!data_->accept.accepts(content_type().empty() ? "application/data" : content_type()))
            (void)decode_body({}, content_type(), content_encoding(), data_->accept);
        data_->payload = decode_body(body(), content_type(), content_encoding(), data_->accept);
    }
    return *data_->payload;
}

const std::string& Message::content_type() const noexcept { return or_empty(properties().content_type); }
const std::string& Message::content_encoding() const noexcept { return or_empty(properties().content_encoding); }
const Json& Message::headers() const noexcept { return properties().headers; }
const Properties& Message::properties() const noexcept { return data_->delivery.properties; }
const DeliveryInfo& Message::delivery_info() const noexcept { return data_->delivery.info; }
bool Message::acknowledged() const noexcept { return data_->no_ack || data_->state != State::received; }

void Message::ack() { settle(State::acknowledged); }
void Message::reject(bool requeue) { settle(requeue ? State::requeued : State::rejected); }

void Message::settle(State state) {
    if (data_->no_ack) return;
    if (data_->state != State::received) {
        const char* const names[] = {"received", "acknowledged", "rejected", "requeued"};
        throw MessageStateError(std::string{"the message is settled already: it was "} +
                                names[static_cast<std::size_t>(data_->state)]);
    }
    TransportChannel& channel = data_->channel.use();
    const Deadline deadline = data_->channel.deadline({});
    if (state == State::acknowledged)
        channel.basic_ack(delivery_tag(), deadline);
    else
        channel.basic_reject(delivery_tag(), state == State::requeued, deadline);
    data_->state = state;
}

}  // namespace kombu
