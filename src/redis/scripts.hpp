// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>

namespace kombu::redis {

/// A Lua script, which Redis executes atomically.
struct Script {
    explicit Script(std::string_view text);
    std::string_view text;
    /// SHA-1 of the text in hexadecimal, for EVALSHA.
    std::string sha1;
};

/// Takes messages from the lists of a queue, in their order, and records them as unacknowledged.
///
/// KEYS: unacked, unacked_index, the poison list, then the lists.
/// ARGV: 1 to record them, 0 otherwise; what follows the message in its record; the largest message in bytes; how many
/// messages to take at most; the time in seconds, for users who may not call TIME.
/// Returns the number of messages that were too large and moved to the poison list; whether the queue has more; then of
/// each message the text, the number of its list from 0, and its tag. The tag is the message's delivery tag with the
/// time, so that each delivery has its own. Takes fewer messages when they are large.
const Script& receive_script();

/// Renews the time of messages in unacked_index. One that is not there any more is not added.
///
/// KEYS: unacked_index.
/// ARGV: the time in seconds, for users who may not call TIME; then tags.
const Script& renew_script();

/// Moves a message from the unacked hash to lists.
///
/// KEYS: unacked, unacked_index, then the lists that it goes to.
/// ARGV: the tag; its score in unacked_index, or "" for any; the first and the last byte of the message in the record,
/// counted from 1; then pairs: a byte of the record, and the text to insert after it.
/// Returns 1 if the message was in the unacked hash, else 0.
const Script& requeue_script();

/// Finds messages whose visibility timeout has expired, unless another client is doing so.
///
/// KEYS: unacked, unacked_index, unacked_mutex.
/// ARGV: a token for the mutex; the mutex's expiry in milliseconds; the visibility timeout in seconds; the maximum
/// number of messages to return; 1 to lock the mutex, 0 if the token holds it already; the maximum size of the returned
/// records in bytes (a single larger record is returned alone); the time in seconds, for users who may not call TIME.
/// Returns false if another client holds the mutex, else the tag, score and record of each message. If there are none
/// the mutex is unlocked: a client that has nothing to do and dies must not leave it locked.
const Script& expired_script();

/// Moves delayed messages that are due to their lists, where they are served last.
///
/// KEYS: pairs of a sorted set of delayed messages and the list that they go to.
/// ARGV: the time in seconds, for users who may not call TIME.
/// Returns the number of moved messages, and the milliseconds to the next one, or -1.
const Script& due_script();

/// Deletes lists. Returns the number of messages in them.
const Script& purge_script();

/// Returns those of the commands of receive_script() and expired_script() that the user may not call (Redis 7).
///
/// ARGV: a key that receiving uses.
const Script& access_script();

/// Unlocks the mutex: deletes a key if it has the given value.
const Script& unlock_script();

}  // namespace kombu::redis
