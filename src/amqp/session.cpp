#include "amqp/session.hpp"

#include "amqp/table.hpp"

#include <algorithm>
#include <cstring>

namespace kombu::amqp {
namespace {

/// More than any exchange needs; a peer that sends what nobody asked for meets them before it fills the memory.
constexpr std::size_t max_unread = 64;
constexpr std::size_t max_unread_messages = 4;

std::string reply_text(int code, std::string_view text) {
    return std::string{text} + " (" + std::to_string(code) + ")";
}

/// Trying again may help after a forced close or a lack of resources, not after a refusal.
bool worth_retrying(int code) noexcept {
    return code == AMQP_CONNECTION_FORCED || code == AMQP_RESOURCE_ERROR || code == 200;
}

std::uint64_t read_u64(std::string_view text) noexcept {
    std::uint64_t value = 0;
    for (const char c : text.substr(0, 8)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
}

}  // namespace

void ChannelState::check() const {
    if (refusal && refusal->code == 406 && refusal->of_declaration) throw NotEquivalentError(refusal->text);
    if (refusal) throw ChannelError(refusal->text, refusal->code);
    if (phase == Phase::closed || phase == Phase::closing)
        throw ChannelError("the channel is closed; what it had delivered and was not settled has been requeued");
}

void Session::protocol_error(const std::string& what) const { throw ConnectionError(peer_ + ": " + what, 503, false); }

void Session::send(std::uint16_t channel, amqp_method_number_t method, void* fields) {
    append_method(output_, channel, method, fields, frame_max_);
    heartbeat_.sent();
}

void Session::send_content(std::uint16_t channel, amqp_basic_properties_t& properties, std::string_view body) {
    append_content(output_, channel, properties, body, frame_max_);
}

void Session::tuned(std::uint16_t channel_max, std::uint32_t frame_max, std::chrono::seconds heartbeat) noexcept {
    heartbeat_ = Heartbeat{heartbeat, Clock::now()};
    channel_max_ = channel_max;
    frame_max_ = frame_max;
    reader_.set_max_frame_size(frame_max);
}

void Session::beat(Clock::time_point now) {
    if (failed()) return;
    switch (heartbeat_.look(now)) {
        case Heartbeat::Due::nothing: return;
        case Heartbeat::Due::frame: return append_heartbeat(output_);
        case Heartbeat::Due::end:
            throw ConnectionError(peer_ + ": the peer has missed two heartbeats of " +
                                  std::to_string(heartbeat_.interval().count()) + " s");
    }
}

void Session::wipe_output() noexcept {
    output_.resize(output_.capacity());
    ::explicit_bzero(output_.data(), output_.size());
    output_.clear();
}

std::shared_ptr<ChannelState> Session::new_channel() {
    std::erase_if(channels_, [](const auto& entry) { return entry.second->phase == ChannelState::Phase::closed; });
    std::uint16_t number = 1;
    for (const auto& [used, channel] : channels_) {
        if (used != number) break;
        ++number;
    }
    if (number > channel_max_ || number == 0)
        throw ChannelLimitExceeded({.pool = "channels of " + peer_, .limit = channel_max_, .in_use = channels_.size()});
    return channels_[number] = std::make_shared<ChannelState>(number);
}

void Session::input_added(std::size_t count) {
    heartbeat_.received();
    reader_.added(count);
    try {
        while (const auto frame = reader_.next()) take(*frame);
    } catch (const ConnectionError& error) {
        // The reader does not know whom it reads from.
        if (std::string_view{error.what()}.starts_with(peer_)) throw;
        throw ConnectionError(peer_ + ": " + error.what(), error.code(), error.is_retryable());
    }
}

void Session::take(const Frame& frame) {
    if (failed() || frame.type == AMQP_FRAME_HEARTBEAT) return;
    if (frame.channel == 0) return take_control(frame);
    const auto found = channels_.find(frame.channel);
    if (found == channels_.end() || found->second->phase == ChannelState::Phase::closed) {
        protocol_error("a frame came for a channel that is not open");
    }
    ChannelState& channel = *found->second;
    if (channel.phase == ChannelState::Phase::closing) {
        // Only the end of it matters; a close that crossed ours is its end too.
        if (frame.type != AMQP_FRAME_METHOD) return;
        const auto method = method_number(frame.payload);
        if (method == AMQP_CHANNEL_CLOSE_OK_METHOD) channel.phase = ChannelState::Phase::closed;
        if (method == AMQP_CHANNEL_CLOSE_METHOD) {
            amqp_channel_close_ok_t ok{};
            send(frame.channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        }
        return;
    }
    switch (frame.type) {
        case AMQP_FRAME_METHOD: return take_method(channel, frame);
        case AMQP_FRAME_HEADER: return take_header(channel, frame);
        default: return take_body(channel, frame);
    }
}

void Session::take_control(const Frame& frame) {
    if (frame.type != AMQP_FRAME_METHOD) protocol_error("content came on channel 0");
    switch (method_number(frame.payload)) {
        case AMQP_CONNECTION_CLOSE_METHOD: {
            const DecodedMethod method{frame.payload};
            const auto& close = method.as<amqp_connection_close_t>();
            amqp_connection_close_ok_t ok{};
            wipe_output();  // nothing else is listened to any more, and it may hold a password
            send(0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
            fail(ConnectionError(
                peer_ + ": the broker closed the connection: " + reply_text(close.reply_code, view(close.reply_text)),
                close.reply_code, worth_retrying(close.reply_code)));
            return;
        }
        case AMQP_CONNECTION_BLOCKED_METHOD:
            blocked_ = std::string{view(DecodedMethod{frame.payload}.as<amqp_connection_blocked_t>().reason)};
            return;
        case AMQP_CONNECTION_UNBLOCKED_METHOD: blocked_.reset(); return;
        default:
            if (control_.size() >= max_unread) protocol_error("answers came that nobody asked for");
            control_.push_back({method_number(frame.payload), std::string{frame.payload}});
    }
}

void Session::take_method(ChannelState& channel, const Frame& frame) {
    if (channel.incoming_) protocol_error("a method came in the middle of a message");
    const amqp_method_number_t number = method_number(frame.payload);
    switch (number) {
        case AMQP_CHANNEL_CLOSE_METHOD: return close_channel(channel, frame);
        case AMQP_CHANNEL_FLOW_METHOD: {
            amqp_channel_flow_ok_t ok{DecodedMethod{frame.payload}.as<amqp_channel_flow_t>().active};
            return send(frame.channel, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
        }
        case AMQP_BASIC_ACK_METHOD: {
            const DecodedMethod method{frame.payload};
            const auto& ack = method.as<amqp_basic_ack_t>();
            // A message comes back just before its own confirmation.
            for (Received& returned : channel.returned)
                if (const auto owner = channel.confirms.returned_to(ack.delivery_tag, ack.multiple != 0))
                    channel.unroutable[owner] = std::move(returned);
            channel.returned.clear();
            if (!channel.confirms.settle(ack.delivery_tag, ack.multiple != 0, true))
                protocol_error("a message was confirmed that was never sent");
            return;
        }
        case AMQP_BASIC_NACK_METHOD: {
            const DecodedMethod method{frame.payload};
            const auto& nack = method.as<amqp_basic_nack_t>();
            if (!channel.confirms.settle(nack.delivery_tag, nack.multiple != 0, false))
                protocol_error("a message was refused that was never sent");
            return;
        }
        case AMQP_BASIC_CANCEL_METHOD:
            channel.consumers.erase(
                std::string{view(DecodedMethod{frame.payload}.as<amqp_basic_cancel_t>().consumer_tag)});
            return;
        case AMQP_BASIC_RETURN_METHOD:
        case AMQP_BASIC_DELIVER_METHOD:
        case AMQP_BASIC_GET_OK_METHOD:
            channel.incoming_ = Received{number, std::string{frame.payload}};
            channel.has_header_ = false;
            return;
        default:
            if (channel.replies.size() >= max_unread) protocol_error("answers came that nobody asked for");
            channel.replies.push_back({number, std::string{frame.payload}});
    }
}

void Session::close_channel(ChannelState& channel, const Frame& frame) {
    const DecodedMethod method{frame.payload};
    const auto& close = method.as<amqp_channel_close_t>();
    const std::string text = reply_text(close.reply_code, view(close.reply_text));
    const auto refused = static_cast<amqp_method_number_t>(close.class_id) << 16 | close.method_id;
    const bool declaration = refused == AMQP_EXCHANGE_DECLARE_METHOD || refused == AMQP_QUEUE_DECLARE_METHOD;
    channel.phase = ChannelState::Phase::closed;
    channel.unsettled.clear();
    channel.refusal = {close.reply_code, text, declaration};
    amqp_channel_close_ok_t ok{};
    send(frame.channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

void Session::take_header(ChannelState& channel, const Frame& frame) {
    if (!channel.incoming_ || channel.has_header_) protocol_error("a content header came without its method");
    if (frame.payload.size() < 14) protocol_error("a content header is cut short");
    channel.body_size_ = read_u64(frame.payload.substr(4));
    if (channel.body_size_ > max_body_size)
        protocol_error("a message of " + std::to_string(channel.body_size_) + " bytes was announced");
    channel.incoming_->properties = decode_properties(frame.payload.substr(12), channel.incoming_->header_error);
    channel.has_header_ = true;
    if (channel.body_size_ == 0) complete(channel);
}

void Session::take_body(ChannelState& channel, const Frame& frame) {
    if (!channel.incoming_ || !channel.has_header_) protocol_error("a part of a message came without its header");
    std::string& body = channel.incoming_->body;
    if (frame.payload.size() > channel.body_size_ - body.size()) protocol_error("a message is longer than announced");
    body.append(frame.payload);
    if (body.size() == channel.body_size_) complete(channel);
}

void Session::complete(ChannelState& channel) {
    Received message = std::move(*channel.incoming_);
    channel.incoming_.reset();
    auto& place = message.method == AMQP_BASIC_RETURN_METHOD    ? channel.returned
                  : message.method == AMQP_BASIC_DELIVER_METHOD ? channel.deliveries
                                                                : channel.replies;
    if (message.method == AMQP_BASIC_DELIVER_METHOD) {
        const DecodedMethod method{message.payload};
        const auto& deliver = method.as<amqp_basic_deliver_t>();
        if (!channel.consumers.contains(std::string{view(deliver.consumer_tag)})) {
            // It was under way when its consumer was cancelled.
            amqp_basic_reject_t reject{deliver.delivery_tag, 1};
            return send(channel.number(), AMQP_BASIC_REJECT_METHOD, &reject);
        }
    }
    if (place.size() >= max_unread_messages) protocol_error("messages came that nobody asked for");
    place.push_back(std::move(message));
}

}  // namespace kombu::amqp
