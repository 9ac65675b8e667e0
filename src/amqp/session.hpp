// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>
#include <kombu/transport.hpp>

#include "amqp/confirms.hpp"
#include "amqp/frame.hpp"
#include "amqp/heartbeat.hpp"
#include "amqp/publish_head.hpp"
#include "amqp/unsettled.hpp"
#include "net/session_base.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace kombu::amqp {

/// A received method. One that carries a message has it in place of the payload.
struct ReceivedMethod {
    amqp_method_number_t method = 0;
    std::string payload{};
    std::string properties{};              // of basic.return, as they were sent
    std::string consumer_tag{};            // of basic.deliver
    std::unique_ptr<Delivery> delivery{};  // of basic.deliver and basic.get-ok
};

/// A message that was published, and that the broker could not route.
struct ReturnedMessage {
    int code = 0;
    std::string text{};
    std::string exchange{};
    std::string routing_key{};
};

/// One channel of a session.
class ChannelState {
public:
    enum class Phase : std::uint8_t { opening, open, closing, closed };

    explicit ChannelState(std::uint16_t number) : number_(number) {}

    std::uint16_t number() const noexcept { return number_; }
    bool is_open() const noexcept { return phase == Phase::open; }
    /// Throws ChannelError when the channel is closed, with the broker's text when the broker closed it.
    void check() const;

    Phase phase = Phase::opening;
    std::deque<ReceivedMethod> replies{};                   // replies to requests
    std::map<std::uint64_t, ReturnedMessage> unroutable{};  // by sequence number
    std::deque<ReceivedMethod> deliveries{};                // for the consumers below
    std::size_t max_deliveries = 4;                         // that can be waiting there: as many as were asked for
    std::set<std::string, std::less<>> consumers{};
    std::set<std::string, std::less<>> no_ack_consumers{};
    std::deque<std::string> cancelled_consumers{};  // by the broker
    std::uint16_t prefetch_count = 0;               // of the consumers that begin from now on
    std::uint64_t last_consumer = 0;
    int pending_cancels = 0;  // messages may arrive until cancel-ok
    PublishHead publish_head{};
    Confirms confirms{};
    bool has_confirms = false;  // the broker confirms what is published
    Unsettled unsettled{};
    struct CloseError {
        int code = 0;
        std::string text{};
        bool from_declare = false;
    };
    std::optional<CloseError> close_error{};  // why the broker closed it

private:
    friend class Session;
    std::uint16_t number_;
    // A method whose content has not arrived completely.
    std::optional<ReceivedMethod> incoming_{};
    bool has_header_ = false;
    std::uint64_t body_size_ = 0;
    // Set while the frames of a body are being sent; replies follow the last one.
    bool is_sending_body_ = false;
    std::string replies_after_body_{};
};

/// An AMQP 0-9-1 connection without I/O: it parses received bytes, keeps the state of the channels and collects the
/// bytes to send. It handles unrequested frames itself whenever they arrive. Operations (operations.hpp) make the
/// requests.
class Session : public net::SessionBase {
public:
    /// The largest body of a received message, in bytes.
    static constexpr std::uint64_t max_body_size = std::uint64_t{128} << 20;

    explicit Session(std::string peer) : SessionBase(std::move(peer)) {}

    // -- for a driver
    std::pair<char*, std::size_t> input_space() { return reader_.space(); }
    void input_added(std::size_t count);
    /// Always false: the session cannot tell whether a reply is outstanding.
    bool is_idle() const noexcept { return false; }
    /// When to call tick(); never without heartbeats.
    Deadline next_heartbeat() const noexcept { return heartbeat_.next_poll(); }
    void tick(Clock::time_point now);

    // -- for operations
    void send(std::uint16_t channel, amqp_method_number_t method, void* fields);
    /// Throws Timeout when the deadline passes meanwhile.
    void send_message(ChannelState& channel, const OutgoingMessage& message, Deadline deadline);
    /// As it was negotiated.
    std::size_t max_frame_size() const noexcept { return frame_max_; }
    /// Sends all of a message but its body, whose frames the caller sends next.
    BodyFrames send_message_head(ChannelState& channel, const OutgoingMessage& message);
    /// While frames of a body are still to be sent on this channel, and input is read, its replies are kept back: no
    /// method may come between the frames of a message.
    void begin_body(ChannelState& channel) noexcept { channel.is_sending_body_ = true; }
    /// Sends them. Nothing is sent on a channel that was closed meanwhile.
    void end_body(ChannelState& channel);
    DecodeMemory& decode_memory() noexcept { return decode_memory_; }
    /// Replies on channel 0.
    std::deque<ReceivedMethod>& connection_replies() noexcept { return connection_replies_; }
    /// What the broker has said of itself; without the rest.
    const BrokerInfo& broker() const noexcept { return broker_; }
    void set_broker(BrokerInfo broker) noexcept { broker_ = std::move(broker); }
    void apply_tune(std::uint16_t channel_max, std::uint32_t frame_max, std::chrono::seconds heartbeat) noexcept;
    /// The negotiated interval; zero: no heartbeats.
    std::chrono::seconds heartbeat() const noexcept { return heartbeat_.interval(); }

    /// Creates a channel with an unused number. Throws ChannelLimitExceeded when there is none.
    std::shared_ptr<ChannelState> new_channel();
    /// The broker's reason while it accepts no messages (low on memory or disk).
    const std::optional<std::string>& blocked() const noexcept { return blocked_; }
    std::string silence_reason() const { return blocked_ ? ": the broker is blocked: " + *blocked_ : std::string{}; }

private:
    /// A reply to the broker, on a channel that may be sending a message.
    void reply(ChannelState& channel, amqp_method_number_t method, void* fields);
    void on_frame(const Frame& frame);
    void on_connection_frame(const Frame& frame);
    void on_method(ChannelState& channel, const Frame& frame);
    void begin_message(ChannelState& channel, amqp_method_number_t number, std::string_view payload);
    void on_header(ChannelState& channel, const Frame& frame);
    void on_body(ChannelState& channel, const Frame& frame);
    void on_message_complete(ChannelState& channel);
    void on_channel_close(ChannelState& channel, const Frame& frame);
    [[noreturn]] void protocol_error(const std::string& what) const;

    FrameReader reader_;
    DecodeMemory decode_memory_;
    Heartbeat heartbeat_;
    std::uint16_t channel_max_ = 1;
    std::uint16_t last_channel_ = 0;  // the highest number that was used
    std::uint32_t frame_max_ = min_frame_size;
    std::optional<std::string> blocked_;
    BrokerInfo broker_{};
    std::deque<ReceivedMethod> connection_replies_;
    std::map<std::uint16_t, std::shared_ptr<ChannelState>> channels_;
};

}  // namespace kombu::amqp
