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

/// Moves the next message of a queue from its list to the unacked hash atomically, so that a crash cannot lose it.
/// Messages that are too large are moved to the poison list, at most 100 a call.
///
/// KEYS: unacked, unacked_index, poison, then the queue's lists in their order.
/// ARGV: 1 to track the message as unacked, 0 only to remove it; the text after the envelope in the unacked record; the
/// maximum size of a message in bytes; the time in seconds, for users who may not call TIME.
/// Returns the number of messages moved to the poison list. If there is a message also: its envelope, the index of its
/// list, its tag in unacked, its score in unacked_index, the number of lists that still have messages. The tag is the
/// message's delivery tag, unless a message with the same one is unacknowledged.
const Script& receive_script();

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

/// Deletes lists. Returns the number of messages in them.
const Script& purge_script();

/// Returns those of the commands of receive_script() and expired_script() that the user may not call (Redis 7).
///
/// ARGV: a key that receiving uses.
const Script& access_script();

/// Unlocks the mutex: deletes a key if it has the given value.
const Script& unlock_script();

}  // namespace kombu::redis
