#pragma once

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

/// Every peer must take frames of this size before another is agreed on, and no smaller one can be agreed on.
inline constexpr std::uint32_t min_frame_size = 4096;
/// Frame header and end mark.
inline constexpr std::uint32_t frame_overhead = 8;

struct Frame {
    std::uint8_t type = 0;
    std::uint16_t channel = 0;
    std::string_view payload{};  // valid until more bytes are added
};

/// Cuts a byte stream into frames. Nothing is allocated on the word of the peer: the buffer holds what has arrived, and
/// no frame may be larger than agreed.
class FrameReader {
public:
    /// Where the next bytes go.
    std::pair<char*, std::size_t> space();
    void added(std::size_t count) noexcept { end_ += count; }

    /// The next whole frame. Throws ConnectionError for what is not AMQP.
    std::optional<Frame> next();

    void set_max_frame_size(std::uint32_t size) noexcept { max_frame_size_ = size; }

private:
    std::string buffer_ = std::string(16384, '\0');
    std::size_t begin_ = 0, end_ = 0;
    std::uint32_t max_frame_size_ = min_frame_size;
    bool first_ = true;
};

/// Append frames to a buffer. Throw EncodeError for what does not fit into a frame.
void append_method(std::string& out, std::uint16_t channel, amqp_method_number_t method, void* fields,
                   std::uint32_t max_frame_size);
void append_heartbeat(std::string& out);
void append_content(std::string& out, std::uint16_t channel, amqp_basic_properties_t& properties, std::string_view body,
                    std::uint32_t max_frame_size);

/// A method's fields, decoded by librabbitmq, and the memory that they are in.
class DecodedMethod {
public:
    /// `payload` begins with the method number. Throws ConnectionError when the fields are not what that method has.
    explicit DecodedMethod(std::string_view payload);
    DecodedMethod(const DecodedMethod&) = delete;
    DecodedMethod& operator=(const DecodedMethod&) = delete;
    ~DecodedMethod() { empty_amqp_pool(&pool_); }

    template <class Fields>
    const Fields& as() const noexcept {
        return *static_cast<const Fields*>(fields_);
    }

private:
    amqp_pool_t pool_{};
    void* fields_ = nullptr;
};

/// The number at the beginning of a method frame's payload. Throws ConnectionError when it is cut short.
amqp_method_number_t method_number(std::string_view payload);

inline std::string_view view(amqp_bytes_t bytes) noexcept { return {static_cast<const char*>(bytes.bytes), bytes.len}; }
inline amqp_bytes_t bytes(std::string_view text) noexcept {
    return {text.size(), const_cast<char*>(text.data())};  // librabbitmq only reads what it encodes
}

}  // namespace kombu::amqp
