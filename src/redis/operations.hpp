// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/channel.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/message.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "redis/context.hpp"
#include "redis/scripts.hpp"
#include "redis/subscriber_session.hpp"
#include "support/uuid.hpp"
#include "virtual/envelope.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// The operations on Redis, each written once and without I/O. Arguments that might die before the operation ends are
/// passed by value; those passed by reference must outlive it.
namespace kombu::redis {

// -- login.cpp

/// Logs in and selects the database, in one round trip. Throws ReadOnlyError if `must_be_master` and the server is not
/// a master, MovedError if it is part of a cluster. Logs a warning if the user may not do what receiving needs.
async::Operation<> log_in(SessionContext& link, std::string userid, std::string password, bool must_be_master);
/// Logs in the second socket of a connection, and subscribes to the channel of the notices. Returns its client id, 0 if
/// the user may not have notices.
async::Operation<std::int64_t> log_in_subscriber(Session& session, std::string userid, std::string password);
/// Makes the server report changed keys to a client. Returns whether it does.
async::Operation<bool> enable_tracking(Session& session, std::int64_t client_id);
/// Authenticates a session again, with another password.
async::Operation<> reauthenticate(Session& session, std::string userid, std::string password);
async::Operation<> ping(Session& session);
/// Product and version; without the version if the user may not call INFO.
async::Operation<BrokerInfo> broker_info(Session& session);
/// Waits for the replies to all commands sent so far.
async::Operation<> drain_replies(Session& session);

// -- run_script.cpp

struct ScriptArguments {
    std::vector<std::string> keys{}, values{};
};

/// Calls a script: by its SHA-1, or by its text if the server has not loaded it.
async::Operation<Reply> run_script(Session& session, const Script& script, ScriptArguments with);
/// Sends a call whose reply is discarded.
void send_script_nowait(Session& session, const Script& script, const ScriptArguments& with);
/// The time, for scripts of users who may not call TIME.
std::string wall_clock_seconds();
/// The command that run_script() tries first, for Session::send_formatted().
std::string evalsha_command(const Script& script, const ScriptArguments& with);

// -- declaring.cpp

async::Operation<> declare_exchange(SessionContext& link, Exchange exchange);
async::Operation<> delete_exchange(SessionContext& link, std::string name, bool if_unused);
async::Operation<QueueInfo> declare_queue(SessionContext& link, Queue queue);
async::Operation<> bind_queue(SessionContext& link, std::string queue, std::string exchange, std::string routing_key,
                              Json arguments);
async::Operation<> unbind_queue(SessionContext& link, std::string queue, std::string exchange, std::string routing_key);
/// Throws ChannelError 540.
async::Operation<> refuse_exchange_binding();
async::Operation<std::uint32_t> purge_queue(SessionContext& link, std::string name);
async::Operation<std::uint32_t> delete_queue(SessionContext& link, std::string name, bool if_empty);
/// Deletes the session's exclusive queues without waiting for the replies.
void delete_exclusive_queues(SessionContext& link);
/// Returns the bindings in the set `key`; without `reload` those that are known, which may have changed since. The
/// entry is valid until the next co_await.
async::Operation<const KnownBindings::Entry*> load_bindings(SessionContext& link, std::string key, bool reload);

// -- routes.cpp and publishing.cpp

/// Where messages with the same head are sent, and what their envelopes have in common.
struct Route {
    struct List {
        std::string key{};
        /// The beginning of the command that pushes one message: all but the envelope.
        std::string push_command{};
        std::chrono::milliseconds expires{0};
    };
    std::shared_ptr<const MessageMetadata> head;
    /// Empty if the head cannot be encoded; `refusal` is the error then.
    std::optional<envelope::EnvelopeTemplate> envelope_template{};
    /// The DeclaredEntities::version that this route was resolved with.
    std::uint64_t declarations_version = 0;
    /// The set of the exchange's bindings, and the version of its entry; empty if the bindings do not matter.
    std::string bindings_key{};
    /// The command that reads it, formatted.
    std::string bindings_command{};
    std::uint64_t bindings_version = 0;
    /// The KnownBindings::changes() at which the route was last found to be current.
    mutable std::uint64_t current_at = 0;

    std::vector<List> lists{};
    bool fanout = false;
    std::string fanout_channel{};
    /// No queue matches, or the message is refused. Without a `refusal` it is dead-lettered or dropped.
    bool is_unroutable = false;
    std::exception_ptr refusal{};
};

/// The route of the last message, for the next one to the same destination.
struct RouteCache {
    std::shared_ptr<const Route> last{};
};

/// Whether a route agrees with the known bindings.
bool is_current(const SessionContext& link, const Route& route);
/// The cached route when it is current and messages with `head` take it. For another head with the same destination a
/// new envelope is rendered, and the result is cached. Otherwise null.
std::shared_ptr<const Route> reuse_route(const SessionContext& link, RouteCache& cache,
                                         const std::shared_ptr<const MessageMetadata>& head);
/// Resolves the route of messages with `head`, with the known bindings.
async::Operation<std::shared_ptr<const Route>> resolve_route(SessionContext& link, RouteCache& cache,
                                                             std::shared_ptr<const MessageMetadata> head);

/// Publishes messages in one pipeline. `results` has an element for each, preset to the error for an unknown outcome.
/// An element becomes null if the message was stored, or dropped because it is not mandatory; it becomes the error if
/// the message was refused. Throws only errors that leave the other outcomes unknown. Consecutive messages for one list
/// are sent in batches, each of which is stored completely or not at all.
async::Operation<> publish_all(SessionContext& link, RouteCache& cache, std::span<const OutgoingMessage> messages,
                               std::span<std::exception_ptr> results, Deadline deadline);
/// Publishes one message, and throws its error. Both throw Timeout when the deadline passes while a message is encoded.
async::Operation<> publish(SessionContext& link, RouteCache& cache, const OutgoingMessage& message, Deadline deadline);

/// The same for a message with a known route to one list, which is the commonest case. As SessionDriver::run() takes
/// it: not a coroutine, so that a publish makes only one frame.
class PlainPublish {
public:
    /// The cached route if it allows this; otherwise null.
    static std::shared_ptr<const Route> find_route(const SessionContext& link, RouteCache& cache,
                                                   const OutgoingMessage& message);
    /// Writes the commands to the session's output, within a request. All but the route exist until the end.
    PlainPublish(SessionContext& link, RouteCache& cache, std::shared_ptr<const Route> route,
                 const OutgoingMessage& message, Deadline deadline);

    bool resume(const async::Ready& ready);
    const async::Wait& wait() const noexcept { return rerouting_ ? rerouting_->wait() : wait_; }
    void result();

private:
    void take_replies();

    SessionContext& link_;
    RouteCache& cache_;
    std::shared_ptr<const Route> route_;
    const OutgoingMessage& message_;
    Deadline deadline_;
    std::array<char, uuid_size> delivery_tag_{};
    async::Wait wait_{};
    bool pushed_ = false, answered_ = false;
    std::exception_ptr error_{};
    std::optional<async::Operation<>> rerouting_{};  // when the bindings had changed
};

/// Stores a message until it is due; move_due_messages() brings it to the queue then.
async::Operation<> publish_at(SessionContext& link, OutgoingMessage message, std::string queue,
                              std::chrono::system_clock::time_point when, Deadline deadline);

// -- receiving.cpp

/// A received message, with what is needed to requeue it.
struct ReceivedMessage {
    /// Null after the message was delivered.
    std::unique_ptr<Delivery> delivery{};
    /// The list that it came from; empty for a message of a fanout exchange.
    std::string source_list{};
    /// Its field in the unacked hash and in unacked_index; empty if it is not tracked there.
    std::string unacked_tag{};
    /// The insertions that mark the envelope as redelivered.
    std::vector<envelope::Insertion> redelivered_marks{};
    std::size_t envelope_size = 0;
    /// Only of a message that is not tracked.
    std::string envelope{};
};

/// Maximum size of an envelope, in bytes: consumers must be able to read it as part of its unacked record.
constexpr std::size_t max_envelope_size = ReplyReader::max_text - (std::size_t{1} << 20);

/// A queue as its consumer sees it, with the commands that are sent again and again.
class ReceivedQueue {
public:
    ReceivedQueue(const SessionContext& link, std::string queue, bool track);

    std::string name;
    /// Whether messages are recorded as unacknowledged.
    bool track_unacked;
    std::vector<std::string> lists;
    /// The EXISTS of the lists, formatted.
    std::string exists_command{};
    /// The call of receive_script(), formatted.
    const std::string& receive_command(const SessionContext& link, std::size_t count);

private:
    std::string receive_command_{};
    std::size_t receive_count_ = 0;
};

/// The result of an attempt to receive messages.
struct Received {
    std::vector<ReceivedMessage> messages{};
    /// Whether the queue had more messages then.
    bool has_more = false;
    /// Whether the server reports changes of the queue since.
    bool watched = false;
    /// Whether messages were moved to the poison list.
    bool quarantined = false;
};

/// The most messages that try_receive() takes at once.
constexpr std::size_t max_received = 250;

/// Restores messages whose visibility timeout has expired, if that is due; stops halfway to `until`.
async::Operation<> restore_if_due(SessionContext& link, Deadline until);
/// Receives the next messages of a queue, `count` at most, if there are some, after restore_if_due(). With `watch` the
/// server is asked to report changes of the queue from then on.
async::Operation<Received> try_receive(SessionContext& link, ReceivedQueue& queue, std::size_t count, bool watch,
                                       Deadline until);

/// Moves the delayed messages of a queue that are due to its lists. Returns the time to the next one; not set if there
/// is none.
async::Operation<std::optional<std::chrono::milliseconds>> move_due_messages(SessionContext& link,
                                                                             const ReceivedQueue& queue);

struct QueueState {
    bool has_messages = false;
    /// The clients that have subscribed to a channel; -1 if the server does not tell.
    std::int64_t subscribers = -1;
};
/// Whether a queue has messages, and how many clients have subscribed to `count_channel` unless that is empty. `watch`
/// as for try_receive().
async::Operation<QueueState> look_at_queue(SessionContext& link, const ReceivedQueue& queue, bool watch,
                                           std::string count_channel);
std::optional<ReceivedMessage> pop_message(SubscriptionBuffer& buffer, const std::string& peer);
/// Subscribes `buffer` to the channels of a queue's fanout exchanges.
async::Operation<> subscribe(SessionContext& link, SubscriberSession& subscriber, std::string queue,
                             SubscriptionBuffer& buffer);
/// Ends the subscriptions of `buffer`, and clears it.
void unsubscribe(SubscriberSession& subscriber, SubscriptionBuffer& buffer);

// -- settling.cpp

async::Operation<> acknowledge(SessionContext& link, std::string tag);
/// Acknowledges several messages without waiting for the reply.
void acknowledge_nowait(SessionContext& link, const std::vector<std::string>& tags);
/// Keeps messages from being restored for another visibility timeout, without waiting for the reply.
void renew_nowait(SessionContext& link, const std::vector<std::string>& tags);
/// Requeues a message, marked as redelivered, to where it is served next. Does nothing if another client has restored
/// it in the meantime.
async::Operation<> requeue_message(SessionContext& link, const ReceivedMessage& message);
/// Requeues a message without waiting for the reply.
void requeue_message_nowait(SessionContext& link, const ReceivedMessage& message);
/// Restores messages whose visibility timeout has expired to their queues. A mutex in Redis admits one consumer at a
/// time. Stops when `until` passes, and makes the restore timer due at once for the rest.
async::Operation<> restore_expired(SessionContext& link, Deadline until);
/// The envelope, marked as redelivered, of a message that is not tracked as unacked.
std::string redelivered_envelope(const ReceivedMessage& message);

}  // namespace kombu::redis
