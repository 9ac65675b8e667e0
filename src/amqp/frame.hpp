// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>

#include <amqp.h>
#include <amqp_framing.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kombu::amqp {

/// Every peer accepts frames of this size before a size is negotiated, and no smaller size can be negotiated.
inline constexpr std::uint32_t min_frame_size = 4096;
/// Frame header and frame-end octet.
inline constexpr std::uint32_t frame_overhead = 8;
inline constexpr char frame_end = '\xce';

struct Frame {
    std::uint8_t type = 0;
    std::uint16_t channel = 0;
    std::string_view payload{};  // of a body perhaps only a part; valid until FrameReader::space() is called
};

/// Splits a byte stream into frames. A large body frame that has not arrived completely comes in parts, so that it is
/// not collected here before it is copied to its message. The buffer grows with the received bytes, never with a
/// size that the peer announces; frames larger than negotiated are refused.
class FrameReader {
public:
    /// Returns the buffer for the next received bytes.
    std::pair<char*, std::size_t> space();
    void added(std::size_t count) noexcept {
        end_ += count;
        was_filled_ = end_ == buffer_.size();
    }

    /// Returns the next frame, or the next part of a large body frame, or nothing. Throws ConnectionError for data that
    /// is not valid AMQP.
    std::optional<Frame> next();

    void set_max_frame_size(std::uint32_t size) noexcept { max_frame_size_ = size; }

private:
    /// What has arrived of the rest of a body frame. Its last byte comes with the frame-end octet.
    std::optional<Frame> next_part();

    /// The largest buffer, in bytes, that is made without need, to save reads.
    static constexpr std::size_t max_read_ahead = 65536;

    /// The smallest body frame, in bytes, that comes in parts.
    static constexpr std::size_t smallest_in_parts = 8192;

    std::string buffer_ = std::string(16384, '\0');
    std::size_t begin_ = 0, end_ = 0;
    bool was_filled_ = false;  // by the last read: more is to come
    std::uint32_t max_frame_size_ = min_frame_size;
    bool is_first_frame_ = true;
    std::size_t body_left_ = 0;  // of a body frame of which a part was returned
    std::uint16_t body_channel_ = 0;
};

/// Splits a body, which must exist until then, into frames whose payload is sent from where it is.
class BodyFrames {
public:
    /// No frames.
    BodyFrames() = default;
    /// `max_payload`: not 0.
    BodyFrames(std::uint16_t channel, std::string_view body, std::size_t max_payload) noexcept
        : rest_(body), max_payload_(max_payload), channel_(channel) {}

    bool empty() const noexcept { return rest_.empty(); }
    /// Appends the beginning of the next frame. Returns the payload, which frame_end follows.
    std::string_view next(std::string& out);

private:
    std::string_view rest_{};
    std::size_t max_payload_ = 0;
    std::uint16_t channel_ = 0;
};

/// Append frames to a buffer. Throw EncodeError when a method or a content header does not fit into one frame.
void append_method(std::string& out, std::uint16_t channel, amqp_method_number_t method, void* fields,
                   std::uint32_t max_frame_size);
void append_heartbeat(std::string& out);
/// Returns where its body size is, for write_body_size().
std::size_t append_content_header(std::string& out, std::uint16_t channel, amqp_basic_properties_t& properties,
                                  std::uint32_t max_frame_size);
void write_body_size(char* at, std::uint64_t size) noexcept;
/// Throws Timeout when the deadline passes meanwhile.
void append_body(std::string& out, std::uint16_t channel, std::string_view body, std::uint32_t max_frame_size,
                 Deadline deadline = Deadline::never());

/// The memory for what librabbitmq decodes. Each decoding takes it from the one before: fresh memory for each would
/// cost more than the decoding. It keeps what the largest one took, which the size of a frame bounds.
class DecodeMemory {
public:
    DecodeMemory() noexcept { init_amqp_pool(&pool_, 1024); }
    DecodeMemory(const DecodeMemory&) = delete;
    DecodeMemory& operator=(const DecodeMemory&) = delete;
    ~DecodeMemory() { empty_amqp_pool(&pool_); }

    amqp_pool_t* reuse() noexcept {
        recycle_amqp_pool(&pool_);
        return &pool_;
    }

private:
    amqp_pool_t pool_{};
};

/// A method's fields, decoded by librabbitmq. Valid until the memory is used again; strings refer to the payload.
class DecodedMethod {
public:
    /// `payload` begins with the method number. Throws ConnectionError when the fields are malformed.
    DecodedMethod(std::string_view payload, DecodeMemory& memory);

    template <class Fields>
    const Fields& as() const noexcept {
        return *static_cast<const Fields*>(fields_);
    }

private:
    void* fields_ = nullptr;
};

/// The number at the beginning of a method frame's payload. Throws ConnectionError when it is cut short.
amqp_method_number_t method_number(std::string_view payload);

inline std::string_view view(amqp_bytes_t bytes) noexcept { return {static_cast<const char*>(bytes.bytes), bytes.len}; }
inline amqp_bytes_t bytes(std::string_view text) noexcept {
    return {text.size(), const_cast<char*>(text.data())};  // librabbitmq only reads what it encodes
}

}  // namespace kombu::amqp
