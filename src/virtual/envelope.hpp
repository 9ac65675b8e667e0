// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/message.hpp>

#include "messages/json_scanner.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The envelope of a message on a broker that stores only text: one JSON object with the members body,
/// content-encoding, content-type, headers and properties, in Kombu's format.
namespace kombu::envelope {

/// The encoding of the body in the envelope: base64, or none (a JSON string).
enum class BodyEncoding : bool { base64, none };

/// The part that the envelopes of messages with the same properties and the same address have in common. Rendering it
/// is most of the work, and it rarely changes from one message to the next.
class EnvelopeTemplate {
public:
    EnvelopeTemplate(const Properties& properties, std::string_view exchange, std::string_view routing_key,
                     BodyEncoding encoding);

    /// Returns the body as append() and size() take it: with base64 the body itself, which append() encodes; otherwise
    /// a JSON string in `scratch`. Throws EncodeError if the encoding is none and the body is not UTF-8, and Timeout
    /// when the deadline passes meanwhile.
    std::string_view prepare(std::string_view body, std::string& scratch, Deadline deadline = Deadline::never()) const;
    /// The size of the envelope in bytes, with a delivery tag of `tag_size` bytes.
    std::size_t size(std::string_view prepared, std::size_t tag_size) const noexcept;
    /// Appends the envelope to `out`. `tag` is the delivery tag, unique to this copy; it must need no JSON escapes.
    /// Throws Timeout when the deadline passes meanwhile.
    void append(std::string& out, std::string_view prepared, std::string_view tag,
                Deadline deadline = Deadline::never()) const;

private:
    BodyEncoding encoding_;
    std::string suffix_;
};

/// A text to insert at an offset of another text.
struct Insertion {
    std::size_t at = 0;
    std::string_view text{};
    bool operator==(const Insertion&) const = default;
};

/// The contents of an envelope.
struct ParsedEnvelope {
    /// Not null in the result of parse().
    std::unique_ptr<Delivery> delivery = std::make_unique<Delivery>();
    /// As text; some senders use numbers.
    std::string delivery_tag{};
    /// The insertions that mark the envelope as redelivered, in its headers and in its delivery_info. What is marked
    /// already is not marked again.
    std::vector<Insertion> redelivered_marks{};
};

/// Parses an envelope. Returns nothing if it cannot be delivered: it is not a JSON object, or lacks body, properties,
/// their delivery_tag or delivery_info, or the latter's exchange or routing_key; `error` says which. A body that does
/// not have its declared encoding is delivered with `header_error` set.
std::optional<ParsedEnvelope> parse(std::string_view text, std::string& error);

/// The `redelivered_marks` of the envelope at offset `begin` of a well-formed text. Offsets count from the start of the
/// text.
std::vector<Insertion> redelivered_marks(std::string_view text, std::size_t begin = 0);

/// The record of an unacknowledged message, in the format of all consumers: `[envelope, exchange, routing_key]`.
struct UnackedRecord {
    json_text::Span envelope{};
    std::string exchange{};
    std::string routing_key{};
    int priority = 0;
};

/// The text after the envelope in the record of a message from `queue`. It names the queue itself, through the default
/// exchange, so that restoring the message reaches no other queue that it was routed to.
std::string unacked_suffix(std::string_view queue);
/// Returns nothing if the text is not such a record.
std::optional<UnackedRecord> parse_unacked_record(std::string_view text);

}  // namespace kombu::envelope
