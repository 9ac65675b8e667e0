// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/session.hpp"

#include "amqp/table.hpp"

#include <algorithm>

namespace kombu::amqp {
namespace {

/// More than any operation needs. They stop a peer that sends unrequested data before it fills the memory.
constexpr std::size_t max_queued_replies = 64;
constexpr std::size_t max_queued_messages = 4;

std::string text_with_code(int code, std::string_view text) {
    return std::string{text} + " (" + std::to_string(code) + ")";
}

/// A retry may succeed after a forced close, a lack of resources or an internal error (of a node of a cluster that is
/// being stopped), not after a refusal. A limit on connections is a refusal by its code only; its text ends with
/// "connection limit (3) is reached", behind the quoted names.
bool is_retryable_close(int code, std::string_view text) noexcept {
    if (code == AMQP_NOT_ALLOWED) return text.substr(text.rfind('\'') + 1).find("limit (") != std::string_view::npos;
    return code == AMQP_CONNECTION_FORCED || code == AMQP_RESOURCE_ERROR || code == AMQP_INTERNAL_ERROR || code == 200;
}

bool is_method(const Frame& frame, amqp_method_number_t number) {
    return frame.type == AMQP_FRAME_METHOD && method_number(frame.payload) == number;
}

std::uint64_t read_u64(std::string_view text) noexcept {
    std::uint64_t value = 0;
    for (const char c : text.substr(0, 8)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
}

}  // namespace

void ChannelState::check() const {
    if (close_error && close_error->code == 406 && close_error->from_declare)
        throw NotEquivalentError(close_error->text);
    if (close_error) throw ChannelError(close_error->text, close_error->code);
    if (phase == Phase::closed || phase == Phase::closing)
        throw ChannelError("the channel is closed; its unsettled messages have been requeued");
}

void Session::protocol_error(const std::string& what) const { throw ConnectionError(peer() + ": " + what, 503, false); }

void Session::send(std::uint16_t channel, amqp_method_number_t method, void* fields) {
    append_method(output_, channel, method, fields, frame_max_);
    heartbeat_.on_sent();
}

void Session::send_message(ChannelState& channel, const OutgoingMessage& message, Deadline deadline) {
    channel.publish_head.append(output_, channel.number(), message.metadata, message.body.size(), frame_max_);
    append_body(output_, channel.number(), message.body, frame_max_, deadline);
    heartbeat_.on_sent();
}

BodyFrames Session::send_message_head(ChannelState& channel, const OutgoingMessage& message) {
    channel.publish_head.append(output_, channel.number(), message.metadata, message.body.size(), frame_max_);
    heartbeat_.on_sent();
    return {channel.number(), message.body, frame_max_ - frame_overhead};
}

void Session::reply(ChannelState& channel, amqp_method_number_t method, void* fields) {
    if (!channel.is_sending_body_) return send(channel.number(), method, fields);
    append_method(channel.replies_after_body_, channel.number(), method, fields, frame_max_);
}

void Session::end_body(ChannelState& channel) {
    channel.is_sending_body_ = false;
    if (channel.is_open()) output_ += channel.replies_after_body_;
    channel.replies_after_body_.clear();
}

void Session::apply_tune(std::uint16_t channel_max, std::uint32_t frame_max, std::chrono::seconds heartbeat) noexcept {
    heartbeat_ = Heartbeat{heartbeat, Clock::now()};
    channel_max_ = channel_max;
    frame_max_ = frame_max;
    reader_.set_max_frame_size(frame_max);
}

void Session::tick(Clock::time_point now) {
    if (failed()) return;
    switch (heartbeat_.poll(now)) {
        case Heartbeat::Action::none: return;
        case Heartbeat::Action::send: return append_heartbeat(output_);
        case Heartbeat::Action::time_out:
            throw ConnectionError(peer() + ": the peer has missed two heartbeats of " +
                                  std::to_string(heartbeat_.interval().count()) + " s");
    }
}

std::shared_ptr<ChannelState> Session::new_channel() {
    // A number whose channel the broker has closed is not used again soon: its channel.close may be repeated.
    constexpr std::size_t max_kept = 256;
    const auto forget_closed = [this](bool by_broker) {
        std::erase_if(channels_, [&](const auto& entry) {
            const ChannelState& channel = *entry.second;
            return channel.phase == ChannelState::Phase::closed && (by_broker || !channel.close_error);
        });
    };
    const auto free_number = [this] {
        std::uint16_t number = 1;
        for (const auto& [used, channel] : channels_) {
            if (used != number) break;
            ++number;
        }
        return number;
    };
    forget_closed(channels_.size() >= max_kept);
    std::uint16_t number = free_number();
    if (number > channel_max_) {
        forget_closed(true);
        number = free_number();
    }
    if (number > channel_max_ || number == 0)
        throw ChannelLimitExceeded(
            {.pool = "channels of " + peer(), .limit = channel_max_, .in_use = channels_.size()});
    last_channel_ = std::max(last_channel_, number);
    return channels_[number] = std::make_shared<ChannelState>(number);
}

void Session::input_added(std::size_t count) {
    heartbeat_.on_received();
    reader_.added(count);
    name_peer_in_errors([&] {
        while (const auto frame = reader_.next()) on_frame(*frame);
    });
}

void Session::on_frame(const Frame& frame) {
    if (failed() || frame.type == AMQP_FRAME_HEARTBEAT) return;
    if (frame.channel == 0) return on_connection_frame(frame);
    const auto found = channels_.find(frame.channel);
    if (found == channels_.end() || found->second->phase == ChannelState::Phase::closed) {
        // RabbitMQ repeats channel.close until it has read the answer, and closes the connection for a second answer.
        if (frame.channel <= last_channel_ && is_method(frame, AMQP_CHANNEL_CLOSE_METHOD)) return;
        protocol_error("received a frame for a channel that is not open");
    }
    ChannelState& channel = *found->second;
    if (channel.phase == ChannelState::Phase::closing) {
        // Only close-ok matters. A channel.close that crosses ours is answered, and does not end the wait for close-ok.
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
        case AMQP_FRAME_METHOD: return on_method(channel, frame);
        case AMQP_FRAME_HEADER: return on_header(channel, frame);
        default: return on_body(channel, frame);
    }
}

void Session::on_connection_frame(const Frame& frame) {
    if (frame.type != AMQP_FRAME_METHOD) protocol_error("received content on channel 0");
    switch (method_number(frame.payload)) {
        case AMQP_CONNECTION_CLOSE_METHOD: {
            const DecodedMethod method{frame.payload, decode_memory_};
            const auto& close = method.as<amqp_connection_close_t>();
            amqp_connection_close_ok_t ok{};
            wipe_output();  // the peer ignores everything else now, and the output may contain a password
            send(0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
            fail(ConnectionError(peer() + ": the broker closed the connection: " +
                                     text_with_code(close.reply_code, view(close.reply_text)),
                                 close.reply_code, is_retryable_close(close.reply_code, view(close.reply_text))));
            return;
        }
        case AMQP_CONNECTION_BLOCKED_METHOD:
            blocked_ =
                std::string{view(DecodedMethod{frame.payload, decode_memory_}.as<amqp_connection_blocked_t>().reason)};
            return;
        case AMQP_CONNECTION_UNBLOCKED_METHOD: blocked_.reset(); return;
        default:
            if (connection_replies_.size() >= max_queued_replies) protocol_error("received unrequested replies");
            connection_replies_.push_back({method_number(frame.payload), std::string{frame.payload}});
    }
}

void Session::on_method(ChannelState& channel, const Frame& frame) {
    if (channel.incoming_) protocol_error("received a method in the middle of a message");
    const amqp_method_number_t number = method_number(frame.payload);
    switch (number) {
        case AMQP_CHANNEL_CLOSE_METHOD: return on_channel_close(channel, frame);
        case AMQP_CHANNEL_FLOW_METHOD: {
            amqp_channel_flow_ok_t ok{DecodedMethod{frame.payload, decode_memory_}.as<amqp_channel_flow_t>().active};
            return reply(channel, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
        }
        case AMQP_BASIC_ACK_METHOD: {
            const DecodedMethod method{frame.payload, decode_memory_};
            const auto& ack = method.as<amqp_basic_ack_t>();
            if (!channel.confirms.on_confirm(ack.delivery_tag, ack.multiple != 0, true))
                protocol_error("the broker confirmed a message that was never sent");
            return;
        }
        case AMQP_BASIC_NACK_METHOD: {
            const DecodedMethod method{frame.payload, decode_memory_};
            const auto& nack = method.as<amqp_basic_nack_t>();
            if (!channel.confirms.on_confirm(nack.delivery_tag, nack.multiple != 0, false))
                protocol_error("the broker refused a message that was never sent");
            return;
        }
        case AMQP_BASIC_CANCEL_METHOD: {
            std::string tag{view(DecodedMethod{frame.payload, decode_memory_}.as<amqp_basic_cancel_t>().consumer_tag)};
            if (channel.consumers.erase(tag) != 0) channel.cancelled_consumers.push_back(std::move(tag));
            return;
        }
        case AMQP_BASIC_RETURN_METHOD:
        case AMQP_BASIC_DELIVER_METHOD:
        case AMQP_BASIC_GET_OK_METHOD: return begin_message(channel, number, frame.payload);
        default:
            if (channel.replies.size() >= max_queued_replies) protocol_error("received unrequested replies");
            channel.replies.push_back({number, std::string{frame.payload}});
    }
}

void Session::begin_message(ChannelState& channel, amqp_method_number_t number, std::string_view payload) {
    ReceivedMethod& message = channel.incoming_.emplace();
    message.method = number;
    message.delivery = std::make_unique<Delivery>();
    channel.has_header_ = false;
    DeliveryInfo& info = message.delivery->info;
    const auto fill = [&](const auto& fields) {
        info.delivery_tag = fields.delivery_tag;
        info.redelivered = fields.redelivered != 0;
        info.exchange = view(fields.exchange);
        info.routing_key = view(fields.routing_key);
    };
    const DecodedMethod method{payload, decode_memory_};
    if (number == AMQP_BASIC_DELIVER_METHOD) {
        message.consumer_tag = view(method.as<amqp_basic_deliver_t>().consumer_tag);
        fill(method.as<amqp_basic_deliver_t>());
    } else if (number == AMQP_BASIC_GET_OK_METHOD) {
        fill(method.as<amqp_basic_get_ok_t>());
    } else {
        message.payload = payload;
    }
}

void Session::on_channel_close(ChannelState& channel, const Frame& frame) {
    const DecodedMethod method{frame.payload, decode_memory_};
    const auto& close = method.as<amqp_channel_close_t>();
    const std::string text = text_with_code(close.reply_code, view(close.reply_text));
    const auto refused_method = static_cast<amqp_method_number_t>(close.class_id) << 16 | close.method_id;
    const bool from_declare =
        refused_method == AMQP_EXCHANGE_DECLARE_METHOD || refused_method == AMQP_QUEUE_DECLARE_METHOD;
    channel.phase = ChannelState::Phase::closed;
    channel.unsettled.clear();
    channel.close_error = {close.reply_code, text, from_declare};
    amqp_channel_close_ok_t ok{};
    send(frame.channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

void Session::on_header(ChannelState& channel, const Frame& frame) {
    if (!channel.incoming_ || channel.has_header_) protocol_error("received a content header without its method");
    if (frame.payload.size() < 14) protocol_error("received a content header that is cut short");
    channel.body_size_ = read_u64(frame.payload.substr(4));
    if (channel.body_size_ > max_body_size)
        protocol_error("a message of " + std::to_string(channel.body_size_) + " bytes was announced");
    const std::string_view properties = frame.payload.substr(12);
    decode_properties(properties, decode_memory_, *channel.incoming_->delivery);
    if (channel.incoming_->method == AMQP_BASIC_RETURN_METHOD) channel.incoming_->properties = properties;
    channel.has_header_ = true;
    if (channel.body_size_ == 0) on_message_complete(channel);
}

void Session::on_body(ChannelState& channel, const Frame& frame) {
    if (!channel.incoming_ || !channel.has_header_) protocol_error("received a content body without its header");
    std::string& body = channel.incoming_->delivery->body;
    if (frame.payload.size() > channel.body_size_ - body.size()) protocol_error("a message is longer than announced");
    // More than what has arrived, so that a large body is not copied each time, but not all that the peer announces.
    const std::size_t size = body.size() + frame.payload.size();
    if (size < channel.body_size_ && size > body.capacity())
        body.reserve(std::min<std::size_t>(channel.body_size_, 4 * size));
    body.append(frame.payload);
    if (body.size() == channel.body_size_) on_message_complete(channel);
}

void Session::on_message_complete(ChannelState& channel) {
    ReceivedMethod message = std::move(*channel.incoming_);
    channel.incoming_.reset();
    const auto check_count = [this](std::size_t count, std::size_t limit) {
        if (count >= limit) protocol_error("received unrequested messages");
    };
    if (message.method == AMQP_BASIC_RETURN_METHOD) {
        const DecodedMethod method{message.payload, decode_memory_};
        const auto& fields = method.as<amqp_basic_return_t>();
        const std::string_view exchange = view(fields.exchange), routing_key = view(fields.routing_key);
        const std::uint64_t number =
            channel.confirms.match_returned({exchange, routing_key, message.delivery->body, message.properties});
        if (number == 0) protocol_error("received unrequested messages");
        channel.unroutable[number] = {fields.reply_code, std::string{view(fields.reply_text)}, std::string{exchange},
                                      std::string{routing_key}};
        return;
    }
    if (message.method == AMQP_BASIC_GET_OK_METHOD) {
        check_count(channel.replies.size(), max_queued_messages);
        channel.replies.push_back(std::move(message));
        return;
    }
    if (!channel.consumers.contains(message.consumer_tag) &&
        std::ranges::find(channel.cancelled_consumers, message.consumer_tag) == channel.cancelled_consumers.end()) {
        // It was in flight when its consumer was cancelled: requeue it.
        amqp_basic_reject_t reject{message.delivery->info.delivery_tag, 1};
        return reply(channel, AMQP_BASIC_REJECT_METHOD, &reject);
    }
    check_count(channel.deliveries.size(), channel.max_deliveries);
    channel.deliveries.push_back(std::move(message));
}

}  // namespace kombu::amqp
