// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kombu {

/// The base of every exception of the library. Texts never contain a password.
///
/// Two questions decide how to handle an error: may the connection be used again, and is it worth trying the
/// operation again?
///
/// \par Kombu
/// `kombu.exceptions.KombuError`
class KOMBU_EXPORT Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;

    /// Whether the connection is dead or in an unknown state. A pool closes such a connection by itself.
    virtual bool poisons_connection() const noexcept { return false; }

    /// Whether the same call may succeed later without a change by hand.
    virtual bool is_retryable() const noexcept { return false; }
};

/// A URL, an option or an argument is invalid. The text names the field and never shows a secret.
class KOMBU_EXPORT ConfigurationError : public Error {
public:
    using Error::Error;
};

/// The broker, or the connection to it, failed. The base of ConnectionError, ChannelError and Nacked, for callers
/// that do not need to tell them apart.
/// \par Kombu
/// `kombu.exceptions.OperationalError`
class KOMBU_EXPORT OperationalError : public Error {
public:
    using Error::Error;
};

/// The connection could not be established, or broke.
class KOMBU_EXPORT ConnectionError : public OperationalError {
public:
    /// `code` is that of the protocol, 0 when there is none. `retryable`: whether a later call may succeed.
    explicit ConnectionError(const std::string& what, int code = 0, bool retryable = true)
        : OperationalError(what), code_(code), retryable_(retryable) {}

    /// The AMQP reply code; 0 when there is none.
    int code() const noexcept { return code_; }
    bool poisons_connection() const noexcept override { return true; }
    bool is_retryable() const noexcept override { return retryable_; }

private:
    int code_;
    bool retryable_;
};

/// The deadline passed before the broker answered. Whether the operation was carried out is unknown. As in Kombu, a
/// kind of ConnectionError.
class KOMBU_EXPORT Timeout : public ConnectionError {
public:
    /// `poisons`: whether the connection cannot be used any more.
    explicit Timeout(const std::string& what, bool poisons = true) : ConnectionError(what), poisons_(poisons) {}

    bool poisons_connection() const noexcept override { return poisons_; }

private:
    bool poisons_;
};

/// The broker refused an operation and closed the channel (404 not found, 406 precondition failed, ...). The
/// connection is intact; the next operation opens a new channel.
class KOMBU_EXPORT ChannelError : public OperationalError {
public:
    /// `code` is that of the protocol, 0 when there is none.
    explicit ChannelError(const std::string& what, int code = 0) : OperationalError(what), code_(code) {}

    /// The AMQP reply code, 0 when there is none.
    int code() const noexcept { return code_; }
    bool is_retryable() const noexcept override { return code_ == 311 || code_ == 313 || code_ == 405; }

private:
    int code_;
};

/// An exchange or queue exists with other properties (AMQP 406 in answer to a declaration).
class KOMBU_EXPORT NotEquivalentError : public ChannelError {
public:
    /// \param what  the words of the broker
    explicit NotEquivalentError(const std::string& what) : ChannelError(what, 406) {}
};

/// The broker has ended a consumer, for instance because its queue was deleted. The channel stays open.
class KOMBU_EXPORT ConsumerCancelled : public ChannelError {
public:
    /// \param queue  it has consumed from
    /// \param tag  of the consumer
    ConsumerCancelled(std::string queue, std::string tag)
        : ChannelError("the broker has cancelled the consumer " + tag + " of the queue " + queue, 0),
          queue_(std::make_shared<const std::string>(std::move(queue))),
          tag_(std::make_shared<const std::string>(std::move(tag))) {}

    /// The queue that it has consumed from.
    const std::string& queue() const noexcept { return *queue_; }
    /// The tag of the consumer.
    const std::string& tag() const noexcept { return *tag_; }
    bool is_retryable() const noexcept override { return true; }

private:
    // Shared, so that copying does not throw.
    std::shared_ptr<const std::string> queue_, tag_;
};

/// A mandatory message reached no queue, and the broker returned it. The channel stays open.
class KOMBU_EXPORT Unroutable : public ChannelError {
public:
    /// Those of ChannelError.
    using ChannelError::ChannelError;
    bool is_retryable() const noexcept override { return false; }
};

/// The broker does not know the user, the password is wrong or has been changed, or the user may not use the virtual
/// host.
class KOMBU_EXPORT AuthenticationError : public ConnectionError {
public:
    /// `code` is that of the protocol.
    explicit AuthenticationError(const std::string& what, int code = 403) : ConnectionError(what, code, false) {}
};

/// Redis: the server is reading its data from disk and will answer when that is done (LOADING).
class KOMBU_EXPORT LoadingError : public ConnectionError {
public:
    /// Those of ConnectionError.
    using ConnectionError::ConnectionError;
};

/// Redis: the server is a replica, or has become one (READONLY, MASTERDOWN). The next attempt may find the master.
class KOMBU_EXPORT ReadOnlyError : public ConnectionError {
public:
    /// Those of ConnectionError.
    using ConnectionError::ConnectionError;
};

/// Redis: the key is on another node of a cluster (MOVED, ASK, CROSSSLOT, CLUSTERDOWN); clusters are not supported.
class KOMBU_EXPORT MovedError : public ConnectionError {
public:
    /// \param what  the words of the server
    explicit MovedError(const std::string& what) : ConnectionError(what, 0, false) {}
};

/// Redis: the server has no memory left for more messages (OOM). Nothing was stored; the connection and the channel
/// are intact.
class KOMBU_EXPORT OutOfMemoryError : public ChannelError {
public:
    /// Those of ChannelError.
    using ChannelError::ChannelError;
    bool is_retryable() const noexcept override { return true; }
};

/// Redis: the server is temporarily unable to store messages: a script keeps it busy (BUSY), it cannot write to its
/// disk (MISCONF), or it has lost its replicas (NOREPLICAS). The connection and the channel are intact.
class KOMBU_EXPORT BusyError : public ChannelError {
public:
    /// Those of ChannelError.
    using ChannelError::ChannelError;
    bool is_retryable() const noexcept override { return true; }
};

/// The broker answered a publish with a negative acknowledgement: the message is not stored.
class KOMBU_EXPORT Nacked : public OperationalError {
public:
    using OperationalError::OperationalError;
    bool is_retryable() const noexcept override { return true; }
};

/// Some messages of a batch were not confirmed. All messages that it does not name were.
class KOMBU_EXPORT BatchError : public OperationalError {
public:
    /// A message that was not confirmed.
    struct Failure {
        /// The index among the messages that the batch held, from 0.
        std::size_t index = 0;
        /// The exception that publishing it alone would have thrown.
        std::exception_ptr error{};
    };

    /// There is at least one failure. `retryable`: whether all of them are.
    BatchError(const std::string& what, std::vector<Failure> failures, bool retryable)
        : OperationalError(what), failures_(std::move(failures)), retryable_(retryable) {}

    /// The failures, at least one, in the order of the messages.
    const std::vector<Failure>& failures() const noexcept { return failures_; }
    /// Whether every message that failed may succeed later.
    bool is_retryable() const noexcept override { return retryable_; }

private:
    std::vector<Failure> failures_;
    bool retryable_;
};

/// A current lease: its age, and where it was acquired.
struct LeaseSite {
    /// The time since it was acquired.
    std::chrono::nanoseconds age{0};
    /// False when the lease may be older than `age`: its start was not measured (see ResourcePool).
    bool age_is_exact = true;
    /// The source file of the call of acquire.
    std::string file{};
    /// The line of the call of acquire.
    unsigned line = 0;

    /// A text such as "12.4 s from worker.cpp:88".
    std::string describe() const {
        std::string text = age_is_exact ? "" : "over ";
        char number[32];
        std::snprintf(number, sizeof number, "%.1f s", std::chrono::duration<double>(age).count());
        text += number;
        return line == 0 ? text : text + " from " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(line);
    }
};

/// The state of a pool when it could not serve an acquire. `limit` 0 means unlimited.
struct LimitReport {
    /// The name of the pool.
    std::string pool{};
    /// What errors call a resource: "connection", "producer", "resource".
    std::string resource_name = "resource";
    /// The limit of the pool.
    std::size_t limit = 0;
    /// The number of resources in use.
    std::size_t in_use = 0;
    /// The number of resources that are free.
    std::size_t idle = 0;
    /// The number of resources that are being created.
    std::size_t connecting = 0;
    /// The number of callers that wait.
    std::size_t waiting = 0;
    /// Set when the call was refused because that many callers were waiting already.
    std::size_t max_waiters = 0;
    /// Whether the call waited.
    bool blocked = false;
    /// How long the call waited.
    std::chrono::nanoseconds waited{0};
    /// The oldest lease; not set when there is none.
    std::optional<LeaseSite> oldest_lease{};
    /// The last error of creating a resource; empty when there is none.
    std::string last_error{};
};

/// A pool had no free resource: at once when the call may not block, otherwise when its deadline passed.
class KOMBU_EXPORT LimitExceeded : public Error {
public:
    /// \param report  the state of the pool at that moment
    explicit LimitExceeded(LimitReport report) : Error(describe(report)), report_(std::move(report)) {}

    /// The limit of the pool.
    std::size_t limit() const noexcept { return report_.limit; }
    /// The state of the pool at that moment.
    const LimitReport& report() const noexcept { return report_; }
    bool is_retryable() const noexcept override { return true; }

private:
    static std::string describe(const LimitReport& r) {
        using std::to_string;
        const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(r.waited).count();
        std::string text = (r.pool.empty() ? "pool" : r.pool) + ": ";
        if (r.max_waiters != 0)
            text += "too many callers are waiting for a " + r.resource_name;
        else if (r.blocked)
            text += "no " + r.resource_name + " within " + to_string(waited) + " ms";
        else
            text += "no " + r.resource_name + " is free";
        text += " (limit " + to_string(r.limit) + ", in use " + to_string(r.in_use) + ", idle " + to_string(r.idle);
        if (r.connecting != 0) text += ", connecting " + to_string(r.connecting);
        text += ", waiting " + to_string(r.waiting) + ")";
        if (r.oldest_lease) text += "; oldest lease " + r.oldest_lease->describe();
        return text + "; last connect error: " + (r.last_error.empty() ? "none" : r.last_error);
    }

    LimitReport report_;
};

/// A pool of connections had no free connection; see LimitExceeded.
class KOMBU_EXPORT ConnectionLimitExceeded : public LimitExceeded {
public:
    /// Those of LimitExceeded.
    using LimitExceeded::LimitExceeded;
};

/// All channels that the broker allows on one connection are in use.
class KOMBU_EXPORT ChannelLimitExceeded : public LimitExceeded {
public:
    /// Those of LimitExceeded.
    using LimitExceeded::LimitExceeded;
};

/// The pool was closed, before the call or during its wait.
class KOMBU_EXPORT PoolClosed : public Error {
public:
    using Error::Error;
};

/// A pool cannot shrink while its resources are in use (see ResizeOptions).
class KOMBU_EXPORT PoolInUse : public Error {
public:
    using Error::Error;
};

/// A lease, or an object made from its connection, was used after the lease had ended; an object was used after it
/// was moved from; or a connection is busy with another operation.
class KOMBU_EXPORT LeaseError : public Error {
public:
    using Error::Error;
};

/// The base of errors in the conversion of bodies to and from bytes.
class KOMBU_EXPORT SerializationError : public Error {
public:
    using Error::Error;
};

/// The body cannot be converted to bytes.
class KOMBU_EXPORT EncodeError : public SerializationError {
public:
    using SerializationError::SerializationError;
};

/// The body is invalid for its content type or compression. The message can still be settled.
class KOMBU_EXPORT DecodeError : public SerializationError {
public:
    using SerializationError::SerializationError;
};

/// No serializer or compression has that name.
class KOMBU_EXPORT SerializerNotInstalled : public Error {
public:
    using Error::Error;
};

/// The content type is not on the accept-list. The message can still be settled.
class KOMBU_EXPORT ContentDisallowed : public SerializerNotInstalled {
public:
    using SerializerNotInstalled::SerializerNotInstalled;
};

/// A message was acknowledged, rejected or requeued a second time.
class KOMBU_EXPORT MessageStateError : public Error {
public:
    using Error::Error;
};

/// A queue had no message within the time allowed.
class KOMBU_EXPORT Empty : public Error {
public:
    using Error::Error;
};

}  // namespace kombu
