// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/frame.hpp"

#include <kombu/error.hpp>

#include "amqp/table_check.hpp"
#include "net/session_base.hpp"
#include "support/pieces.hpp"

#include <algorithm>
#include <cstring>

namespace kombu::amqp {
namespace {

constexpr std::size_t header_size = 7;

std::uint32_t read_u32(const char* at) noexcept {
    const auto* const b = reinterpret_cast<const unsigned char*>(at);
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
}

std::uint16_t read_u16(const char* at) noexcept {
    const auto* const b = reinterpret_cast<const unsigned char*>(at);
    return static_cast<std::uint16_t>(b[0] << 8 | b[1]);
}

void write_u16(char* at, std::uint16_t value) noexcept {
    at[0] = static_cast<char>(value >> 8);
    at[1] = static_cast<char>(value);
}

void write_u32(char* at, std::uint32_t value) noexcept {
    write_u16(at, static_cast<std::uint16_t>(value >> 16));
    write_u16(at + 2, static_cast<std::uint16_t>(value));
}

void write_header(char* at, std::uint8_t type, std::uint16_t channel, std::size_t size) noexcept {
    at[0] = static_cast<char>(type);
    write_u16(at + 1, channel);
    write_u32(at + 3, static_cast<std::uint32_t>(size));
}

void append_frame(std::string& out, std::uint8_t type, std::uint16_t channel, std::string_view payload) {
    char header[header_size];
    write_header(header, type, channel, payload.size());
    out.append(header, header_size);
    out.append(payload);
    out.push_back(frame_end);
}

void check_frame_end(char octet) {
    if (octet != frame_end) throw net::InvalidInput("the peer sent a frame without the frame-end octet", 501);
}

/// Appends a frame whose size only encoding tells. Tries a small buffer first, since nearly all frames are small.
template <class Encode>
void append_encoded(std::string& out, std::uint8_t type, std::uint16_t channel, std::uint32_t max_frame_size,
                    Encode encode) {
    const std::size_t start = out.size();
    const std::size_t max_payload = max_frame_size - frame_overhead;
    for (std::size_t capacity = 512;; capacity *= 8) {
        capacity = std::min(capacity, max_payload);
        out.resize(start + header_size + capacity);
        const int size = encode(amqp_bytes_t{capacity, out.data() + start + header_size});
        if (size >= 0) {
            write_header(out.data() + start, type, channel, static_cast<std::size_t>(size));
            out.resize(start + header_size + static_cast<std::size_t>(size));
            out.push_back(frame_end);
            return;
        }
        if (capacity == max_payload) break;
    }
    out.resize(start);
    throw EncodeError("headers or arguments are too large for one AMQP frame of " + std::to_string(max_frame_size) +
                      " bytes");
}

}  // namespace

std::pair<char*, std::size_t> FrameReader::space() {
    if (begin_ == end_) begin_ = end_ = 0;
    if (was_filled_ && buffer_.size() < max_read_ahead) buffer_.resize(buffer_.size() * 2);
    // Moved when little is left too, so that the next read can be large.
    if (begin_ > 0 && (buffer_.size() - end_ < 4096 || end_ - begin_ <= begin_)) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    // The buffer grows with the received bytes, never with an announced size.
    if (buffer_.size() - end_ < 4096) buffer_.resize(buffer_.size() * 2);
    return {buffer_.data() + end_, buffer_.size() - end_};
}

std::optional<Frame> FrameReader::next() {
    if (body_left_ != 0) return next_part();
    const std::string_view available{buffer_.data() + begin_, end_ - begin_};
    if (available.empty()) return std::nullopt;
    if (is_first_frame_ && available.starts_with("AMQP")) {
        if (available.size() < 8) return std::nullopt;
        throw net::InvalidInput("the peer speaks another version of AMQP");
    }
    const auto type = static_cast<std::uint8_t>(available[0]);
    const bool is_known_type = type == AMQP_FRAME_METHOD || type == AMQP_FRAME_HEADER || type == AMQP_FRAME_BODY ||
                               type == AMQP_FRAME_HEARTBEAT;
    constexpr char tls_alert = 0x15;
    if (is_first_frame_ && available[0] == tls_alert)
        throw net::InvalidInput("the peer speaks TLS on this port: use amqps://");
    if (!is_known_type && !(is_first_frame_ && available[0] == 'A' && available.size() < 4))
        throw net::InvalidInput(
            is_first_frame_ ? "the peer does not speak AMQP" : "the peer sent a frame of an unknown type", 501);
    if (available.size() < header_size) return std::nullopt;
    const std::uint32_t size = read_u32(available.data() + 3);
    if (size > max_frame_size_ - frame_overhead)
        throw net::InvalidInput(
            is_first_frame_ ? "the peer does not speak AMQP" : "the peer sent a frame larger than agreed", 501);
    const std::uint16_t channel = read_u16(available.data() + 1);
    if (available.size() < header_size + size + 1) {
        if (type != AMQP_FRAME_BODY || size < smallest_in_parts) return std::nullopt;
        is_first_frame_ = false;
        begin_ += header_size;
        body_left_ = size;
        body_channel_ = channel;
        return next_part();
    }
    check_frame_end(available[header_size + size]);
    is_first_frame_ = false;
    begin_ += header_size + size + 1;
    return Frame{type, channel, available.substr(header_size, size)};
}

std::optional<Frame> FrameReader::next_part() {
    const std::string_view available{buffer_.data() + begin_, end_ - begin_};
    const bool is_last = available.size() > body_left_;
    if (is_last) check_frame_end(available[body_left_]);
    const std::string_view part = available.substr(0, is_last ? body_left_ : body_left_ - 1);
    if (part.empty()) return std::nullopt;
    begin_ += part.size() + (is_last ? 1 : 0);
    body_left_ -= part.size();
    return Frame{AMQP_FRAME_BODY, body_channel_, part};
}

void append_method(std::string& out, std::uint16_t channel, amqp_method_number_t method, void* fields,
                   std::uint32_t max_frame_size) {
    append_encoded(out, AMQP_FRAME_METHOD, channel, max_frame_size, [&](amqp_bytes_t space) {
        auto* const start = static_cast<char*>(space.bytes);
        write_u32(start, method);
        const int size = amqp_encode_method(method, fields, {space.len - 4, start + 4});
        return size < 0 ? size : size + 4;
    });
}

void append_heartbeat(std::string& out) {
    const char frame[] = {AMQP_FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, static_cast<char>(AMQP_FRAME_END)};
    out.append(frame, sizeof frame);
}

void write_body_size(char* at, std::uint64_t size) noexcept {
    write_u32(at, static_cast<std::uint32_t>(size >> 32));
    write_u32(at + 4, static_cast<std::uint32_t>(size));
}

std::size_t append_content_header(std::string& out, std::uint16_t channel, amqp_basic_properties_t& properties,
                                  std::uint32_t max_frame_size) {
    const std::size_t frame_at = out.size();
    const auto encode = [&](amqp_bytes_t space) {
        auto* const start = static_cast<char*>(space.bytes);
        write_u16(start, AMQP_BASIC_CLASS);
        write_u16(start + 2, 0);
        write_body_size(start + 4, 0);
        const int size = amqp_encode_properties(AMQP_BASIC_CLASS, &properties, {space.len - 12, start + 12});
        return size < 0 ? size : size + 12;
    };
    // Most are small, and published for each message: a string would be filled with zeros first. Methods are encoded in
    // place, since one has a password.
    char small[512];
    if (const int size = encode({sizeof small, small}); size >= 0)
        append_frame(out, AMQP_FRAME_HEADER, channel, {small, static_cast<std::size_t>(size)});
    else
        append_encoded(out, AMQP_FRAME_HEADER, channel, max_frame_size, encode);
    return frame_at + header_size + 4;
}

std::string_view BodyFrames::next(std::string& out) {
    const std::string_view part = rest_.substr(0, max_payload_);
    char header[header_size];
    write_header(header, AMQP_FRAME_BODY, channel_, part.size());
    out.append(header, header_size);
    rest_.remove_prefix(part.size());
    return part;
}

void append_body(std::string& out, std::uint16_t channel, std::string_view body, std::uint32_t max_frame_size,
                 Deadline deadline) {
    const std::size_t max_payload = max_frame_size - frame_overhead;
    out.reserve(out.size() + body.size() + (body.size() / max_payload + 1) * frame_overhead);
    BodyFrames frames{channel, body, max_payload};
    for (std::size_t next_check = out.size() + piece_size; !frames.empty();) {
        if (out.size() >= next_check) {
            check_in_time(deadline);
            next_check = out.size() + piece_size;
        }
        const std::string_view part = frames.next(out);
        out.append(part).push_back(frame_end);
    }
}

amqp_method_number_t method_number(std::string_view payload) {
    if (payload.size() < 4) throw net::InvalidInput("the peer sent a method frame that is cut short", 501);
    return read_u32(payload.data());
}

DecodedMethod::DecodedMethod(std::string_view payload, DecodeMemory& memory) {
    const amqp_method_number_t method = method_number(payload);
    // connection.start is the only method with a table that a broker sends.
    if (method == AMQP_CONNECTION_START_METHOD && payload.size() > 6 && is_malformed_or_too_deep(payload.substr(6)))
        throw net::InvalidInput("the peer sent a table that is malformed or nests more than 64 levels deep", 502);
    if (amqp_decode_method(method, memory.reuse(), bytes(payload.substr(4)), &fields_) < 0 || !fields_)
        throw net::InvalidInput("the peer sent a method with malformed fields", 502);
}

}  // namespace kombu::amqp
