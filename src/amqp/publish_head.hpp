// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace kombu::amqp {

/// The frames before the body of a message: basic.publish and the content header. They are encoded once for messages
/// with the same metadata, and copied for the next ones: encoding costs ten times as much. Messages that differ in
/// their properties only, as in an id, share the first frame.
class PublishHead {
public:
    /// Appends the frames. Throws EncodeError when they are too large, or the headers cannot be encoded.
    void append(std::string& out, std::uint16_t channel, const std::shared_ptr<const MessageMetadata>& metadata,
                std::size_t body_size, std::uint32_t max_frame_size);

    /// Of the message that was appended last, as they are sent.
    std::string_view properties() const noexcept {
        const std::size_t at = body_size_at_ + sizeof(std::uint64_t);
        return std::string_view{frames_}.substr(at, frames_.size() - 1 - at);  // without the frame-end octet
    }

private:
    void encode(std::uint16_t channel, const std::shared_ptr<const MessageMetadata>& metadata,
                std::uint32_t max_frame_size);

    std::shared_ptr<const MessageMetadata> metadata_{};
    std::string frames_{};
    std::size_t method_size_ = 0;  // of the frame of basic.publish
    std::size_t body_size_at_ = 0;
};

}  // namespace kombu::amqp
