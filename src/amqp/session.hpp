#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/message.hpp>

#include "amqp/confirms.hpp"
#include "amqp/frame.hpp"
#include "amqp/heartbeat.hpp"
#include "net/session_failure.hpp"

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

/// A method that a channel received, with its content when it has one.
struct Received {
    amqp_method_number_t method = 0;
    std::string payload{};
    Properties properties{};
    std::string body{};
    std::optional<std::string> header_error{};
};

/// One channel of a session.
class ChannelState {
public:
    enum class Phase : std::uint8_t { opening, open, closing, closed };

    explicit ChannelState(std::uint16_t number) : number_(number) {}

    std::uint16_t number() const noexcept { return number_; }
    bool is_open() const noexcept { return phase == Phase::open; }
    /// Throws ChannelError when the channel is closed, with the broker's words when it was the broker.
    void check() const;

    Phase phase = Phase::opening;
    std::deque<Received> replies{};                  // answers to what was asked
    std::deque<Received> returned{};                 // mandatory messages that came back and are not confirmed yet
    std::map<std::uint64_t, Received> unroutable{};  // those that are, by their number
    std::deque<Received> deliveries{};               // for the consumers below
    std::set<std::string> consumers{};
    std::uint64_t last_consumer = 0;
    int cancels_under_way = 0;  // whose messages may still come
    Confirms confirms{};
    std::set<std::uint64_t> unsettled{};
    struct Refusal {
        int code = 0;
        std::string text{};
        bool of_declaration = false;
    };
    std::optional<Refusal> refusal{};  // why the broker closed it

private:
    friend class Session;
    std::uint16_t number_;
    // A method whose content is on its way.
    std::optional<Received> incoming_{};
    bool has_header_ = false;
    std::uint64_t body_size_ = 0;
};

/// An AMQP 0-9-1 connection without I/O: bytes in, bytes out, and what they mean for the channels. Frames that come
/// unasked are dealt with here, whenever they come. Operations (operations.hpp) say what to ask for.
class Session {
public:
    /// What a received message may measure.
    static constexpr std::uint64_t max_body_size = std::uint64_t{128} << 20;

    explicit Session(std::string peer) : peer_(std::move(peer)) {}

    // -- for a driver
    std::string& output() noexcept { return output_; }
    std::pair<char*, std::size_t> input_space() { return reader_.space(); }
    void input_added(std::size_t count);
    void fail(const ConnectionError& error) noexcept { failure_.set(error); }
    /// From any thread.
    bool failed() const noexcept { return failure_.is_set(); }
    /// Throws what the session failed with.
    void check() const { failure_.check(); }
    /// What is going on is known to operations only.
    bool is_quiet() const noexcept { return false; }
    /// When beat() is to be called; never without heartbeats.
    Deadline next_heartbeat() const noexcept { return heartbeat_.next(); }
    void beat(Clock::time_point now);

    // -- for operations
    const std::string& peer() const noexcept { return peer_; }
    void send(std::uint16_t channel, amqp_method_number_t method, void* fields);
    void send_content(std::uint16_t channel, amqp_basic_properties_t& properties, std::string_view body);
    /// Answers on channel 0.
    std::deque<Received>& control() noexcept { return control_; }
    void tuned(std::uint16_t channel_max, std::uint32_t frame_max, std::chrono::seconds heartbeat) noexcept;
    /// What was agreed on; zero: none.
    std::chrono::seconds heartbeat() const noexcept { return heartbeat_.interval(); }

    /// A channel number nobody uses. Throws ChannelLimitExceeded.
    std::shared_ptr<ChannelState> new_channel();
    /// The broker has memory or disk trouble and takes no messages.
    const std::optional<std::string>& blocked() const noexcept { return blocked_; }
    /// Bytes of a log-in do not stay in memory.
    void wipe_output() noexcept;

private:
    void take(const Frame& frame);
    void take_control(const Frame& frame);
    void take_method(ChannelState& channel, const Frame& frame);
    void take_header(ChannelState& channel, const Frame& frame);
    void take_body(ChannelState& channel, const Frame& frame);
    void complete(ChannelState& channel);
    void close_channel(ChannelState& channel, const Frame& frame);
    [[noreturn]] void protocol_error(const std::string& what) const;

    std::string peer_;
    FrameReader reader_;
    std::string output_;
    net::SessionFailure failure_;
    Heartbeat heartbeat_;
    std::uint16_t channel_max_ = 1;
    std::uint32_t frame_max_ = min_frame_size;
    std::optional<std::string> blocked_;
    std::deque<Received> control_;
    std::map<std::uint16_t, std::shared_ptr<ChannelState>> channels_;
};

}  // namespace kombu::amqp
