#pragma once

#include <kombu/channel.hpp>
#include <kombu/deadline.hpp>
#include <kombu/entity.hpp>
#include <kombu/message.hpp>
#include <kombu/operation.hpp>
#include <kombu/transport.hpp>

#include "redis/context.hpp"
#include "redis/subscriptions.hpp"
#include "virtual/envelope.hpp"

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

/// What can be asked of Redis, each written once and without I/O. Arguments are taken by value where an operation
/// outlives the call that made it; what it is given by reference must live as long as it does.
namespace kombu::redis {

// -- login.cpp

/// Logs in, selects the database and has changes told about, in one round trip where the server speaks RESP 3. Throws
/// ReadOnlyError when a master is wanted and this is none.
async::Operation<> log_in(Link& link, std::string userid, std::string password, bool must_be_master);
/// The same session with another password.
async::Operation<> log_in_again(Session& session, std::string userid, std::string password);
async::Operation<> ping(Session& session);
/// Waits for the answers to everything that was said.
async::Operation<> settle(Session& session);

// -- scripts.cpp

/// Calls a script, with its text when the server does not know it.
async::Operation<Reply> run_script(Session& session, const Script& script, std::vector<std::string> keys,
                                   std::vector<std::string> arguments);

// -- declaring.cpp

async::Operation<> declare_exchange(Link& link, Exchange exchange);
async::Operation<> delete_exchange(Link& link, std::string name, bool if_unused);
async::Operation<QueueInfo> declare_queue(Link& link, Queue queue);
async::Operation<> bind_queue(Link& link, std::string queue, std::string exchange, std::string routing_key,
                              Json arguments);
async::Operation<> unbind_queue(Link& link, std::string queue, std::string exchange, std::string routing_key);
async::Operation<std::uint32_t> purge_queue(Link& link, std::string name);
async::Operation<std::uint32_t> delete_queue(Link& link, std::string name, bool if_empty);
/// Deletes the session's exclusive queues without waiting for it.
void delete_exclusive_queues(Link& link);
/// What is bound to an exchange, from memory when that is still true. `entry` is good until the next co_await.
async::Operation<const BindingCache::Entry*> bindings_of(Link& link, std::string key, bool fresh);

// -- ways.cpp and publishing.cpp

/// Where messages with one head go, and what their envelopes have in common.
struct Way {
    struct List {
        std::string key{};
        std::chrono::milliseconds expires{0};
    };
    std::shared_ptr<const MessageHead> head;
    /// Not there when the head cannot be written, which the refusal says then.
    std::optional<envelope::Frame> frame{};
    /// By which state of the session's declarations,
    std::uint64_t declarations = 0;
    /// and of the exchange's bindings; no key when those do not matter.
    std::string bindings_key{};
    std::uint64_t version = 0;

    std::vector<List> lists{};
    bool fanout = false;
    std::string channel{};
    /// No queue takes it: it is dropped, or goes to the dead letters, or is refused.
    bool is_lost = false;
    std::exception_ptr refusal{};
};

/// The last way that was found, for the next message like the last.
struct WayCache {
    std::shared_ptr<const Way> last{};
};

/// Whether a way is still the right one. Asked after an answer it tells whether it was so when that was given: see
/// BindingCache.
bool is_current(const Link& link, const Way& way);
/// `again`: what is known of the bindings is not true any more.
async::Operation<std::shared_ptr<const Way>> find_way(Link& link, WayCache& cache,
                                                      std::shared_ptr<const MessageHead> head, bool again);

/// Publishes messages in one go. `results` has a place for each, with an error for what is not known yet. Null is put
/// there for what was stored, or dropped as one that is not mandatory may be, and what was refused. Throws only what
/// leaves the others unknown. Messages of one list that follow one another are stored together or not at all.
async::Operation<> publish_all(Link& link, WayCache& cache, std::span<const OutgoingMessage> messages,
                               std::span<std::exception_ptr> results);
/// The same for one, whose error is thrown.
async::Operation<> publish(Link& link, WayCache& cache, const OutgoingMessage& message);

// -- receiving.cpp

/// A message that was taken, and what it takes to give it back.
struct Taken {
    Delivery delivery{};
    /// The list it was taken from; empty for one that came by a fanout exchange.
    std::string list{};
    /// Its name among the messages that are held, and since when it is; empty for one that is not recorded.
    std::string tag{}, since{};
    /// Where in the envelope it is marked as redelivered.
    std::vector<envelope::Insertion> marks{};
    std::size_t envelope_size = 0;
    /// Only of one that is not recorded.
    std::string envelope{};
};

/// What an envelope may measure: consumers must be able to read it, beside its record.
constexpr std::size_t max_envelope = ReplyReader::max_text - (std::size_t{1} << 20);

/// The next message of a queue, when there is one. Gives back first what was held for too long, when it is time for
/// that, for as long as `until` allows.
async::Operation<std::optional<Taken>> take(Link& link, std::string queue, bool record, Deadline until);
/// Waits for a message until `until`; from the queue, or from `inbox` when there is one.
async::Operation<std::optional<Taken>> wait_for_message(Link& link, std::string queue, bool record, Inbox* inbox,
                                                        Deadline until);
std::optional<Taken> take_from(Inbox& inbox, const std::string& peer);
/// Has what is published to a queue's fanout exchanges come in, from before the operation's end.
async::Operation<> listen(Link& link, std::string queue, Inbox& inbox);
/// No more of it.
void stop_listening(Link& link, Inbox& inbox);

// -- settling.cpp

async::Operation<> acknowledge(Link& link, std::string tag);
/// Puts a message back, where it is served next, marked as redelivered. Nothing when somebody else has done so since.
async::Operation<> give_back(Link& link, const Taken& taken);
/// The same without waiting for it.
void give_back_nowait(Link& link, const Taken& taken);
/// Gives back, to their queues, what consumers have held for too long. One consumer at a time does so. When `until`
/// passes it stops, and goes on at the next time that it is asked.
async::Operation<> restore_expired(Link& link, Deadline until);
/// The envelope of a message that comes again.
std::string redelivered(const Taken& taken);

}  // namespace kombu::redis
