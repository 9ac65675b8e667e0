// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/publish_head.hpp"

#include "amqp/frame.hpp"
#include "amqp/table.hpp"

namespace kombu::amqp {

void PublishHead::append(std::string& out, std::uint16_t channel,
                         const std::shared_ptr<const MessageMetadata>& metadata, std::size_t body_size,
                         std::uint32_t max_frame_size) {
    if (metadata_ != metadata) encode(channel, metadata, max_frame_size);
    const std::size_t at = out.size() + body_size_at_;
    out += frames_;
    write_body_size(out.data() + at, body_size);
}

void PublishHead::encode(std::uint16_t channel, const std::shared_ptr<const MessageMetadata>& metadata,
                         std::uint32_t max_frame_size) {
    const bool has_method = metadata_ && metadata_->exchange == metadata->exchange &&
                            metadata_->routing_key == metadata->routing_key &&
                            metadata_->mandatory == metadata->mandatory;
    metadata_ = nullptr;  // nothing is cached unless all is encoded
    if (has_method) {
        frames_.resize(method_size_);
    } else {
        frames_.clear();
        amqp_basic_publish_t publish{0, bytes(metadata->exchange), bytes(metadata->routing_key), metadata->mandatory,
                                     0};
        append_method(frames_, channel, AMQP_BASIC_PUBLISH_METHOD, &publish, max_frame_size);
        method_size_ = frames_.size();
    }
    TableEncoder tables;
    amqp_basic_properties_t properties = encode_properties(metadata->properties, tables);
    body_size_at_ = append_content_header(frames_, channel, properties, max_frame_size);
    metadata_ = metadata;
}

}  // namespace kombu::amqp
