#pragma once

#include <kombu/message.hpp>

#include "messages/json_writer.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How a message travels where there is nothing but texts to carry it: one JSON object with the members body,
/// content-encoding, content-type, headers and properties, to the letter as Kombu writes it.
namespace kombu::envelope {

/// How bodies stand in the envelope: in base64, or as the text they are.
enum class BodyEncoding : bool { base64, none };

/// What all envelopes of messages with the same properties and the same address have in common. Rendering it is most
/// of the work, and from one message to the next it is rarely different.
class Frame {
public:
    Frame(const Properties& properties, std::string_view exchange, std::string_view routing_key, BodyEncoding encoding);

    /// The body as append() and size() take it: in base64 it stays what it is and is encoded where it goes. Throws
    /// EncodeError for a body that is not the text it would have to be.
    std::string_view prepare(std::string_view body, std::string& memory) const;
    /// How long the envelope of that body will be, with a tag of `tag` bytes.
    std::size_t size(std::string_view prepared, std::size_t tag) const noexcept;
    /// `tag` is one delivery's own, and needs no escapes.
    void append(std::string& out, std::string_view prepared, std::string_view tag) const;

private:
    BodyEncoding encoding_;
    std::string behind_body_;
};

/// An envelope taken apart.
struct Opened {
    Delivery delivery{};
    /// As text, though some senders number their messages.
    std::string tag{};
};

/// Nothing for what cannot be delivered: not JSON, or one of body, properties, their delivery_tag, delivery_info and
/// its exchange and routing_key is missing. `why` says which then. A body that is not what its encoding says is
/// delivered, with an error in place of its headers.
std::optional<Opened> open(std::string_view text, std::string& why);

/// A text put into another one.
struct Insertion {
    std::size_t at = 0;
    std::string_view text{};
};

/// What makes the envelope at `begin` of a well-formed text one of a message that comes again: `redelivered` in its
/// headers and its delivery_info. Nothing is said twice.
std::vector<Insertion> redelivery(std::string_view text, std::size_t begin = 0);

/// A delivery that a consumer holds, as all consumers record it: `[envelope, exchange, routing_key]`.
struct Held {
    json_text::Span envelope{};
    std::string exchange{};
    std::string routing_key{};
    int priority = 0;
};

/// What follows the envelope in the record of a delivery from `queue`. It names the queue itself, by way of the default
/// exchange: giving it back reaches no other queue that it was routed to.
std::string held_suffix(std::string_view queue);
/// Nothing for what is no such record.
std::optional<Held> parse_held(std::string_view text);

}  // namespace kombu::envelope
