#pragma once

#include <string>
#include <string_view>

namespace kombu::redis {

/// A Lua script: what must happen at once in Redis.
struct Script {
    explicit Script(std::string_view text);
    std::string_view text;
    /// By which EVALSHA knows it.
    std::string sha;
};

/// Takes the next message of a queue and records that it is held, so that it is nowhere for no moment. What could
/// never be delivered is set aside, and whatever it hides is taken.
///
/// KEYS: unacked, unacked_index, poison, then the queue's lists in their order.
/// ARGV: 1 to record it or 0; what follows the envelope in the record; how large a message may be.
/// Returns the number of messages set aside, and when there is one: the message, its list's number, its tag, when.
const Script& take_script();

/// Gives back a message that is held.
///
/// KEYS: unacked, unacked_index, then the lists that it goes to.
/// ARGV: the tag; since when it is held, or "" for whenever; where in the record the message begins and ends; then, in
/// turn, behind which byte of the record to put in what text.
/// Returns whether it was held.
const Script& restore_script();

/// Looks for messages that have been held for too long, if nobody else does so.
///
/// KEYS: unacked, unacked_index, unacked_mutex.
/// ARGV: a token for the mutex; how long that is held at most, in milliseconds; for how long a message may be held, in
/// seconds; how many to return; 1 to take the mutex or 0 when it is held already; how many bytes of records to return,
/// but for one that is larger. Returns false when somebody else looks, else the tag, time and record of each. When
/// there are none the mutex is free again: it is never held by one who has nothing to do, and might die with it.
const Script& expired_script();

/// Deletes lists. Returns how many messages were in them.
const Script& purge_script();

/// Deletes a key that has a given value.
const Script& release_script();

}  // namespace kombu::redis
