#include "amqp/operations.hpp"

#include <kombu/error.hpp>

#include "amqp/table.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace kombu::amqp {
namespace {

using net::NeedInput;
using net::Operation;

/// How long a cancelled consumer may take to say so before we stop listening: beyond it, a message that is still on its
/// way is sent back when it arrives.
constexpr std::chrono::milliseconds cancel_grace{50};
/// What a broker that is well needs to answer, however far away.
constexpr std::chrono::seconds round_trip{1};
/// How often a queue is looked at that would vanish with a consumer.
constexpr std::chrono::milliseconds look_interval{20};

/// The next answer of a channel, which must be one of `expected`. Throws Timeout when `by` passes.
Operation<Received> answer(Session& session, Channel channel, amqp_method_number_t expected,
                           amqp_method_number_t or_else = 0, Deadline by = Deadline::never()) {
    for (;;) {
        session.check();
        if (!channel->replies.empty()) {
            Received reply = std::move(channel->replies.front());
            channel->replies.pop_front();
            if (reply.method == AMQP_BASIC_CANCEL_OK_METHOD && expected != AMQP_BASIC_CANCEL_OK_METHOD) {
                --channel->cancels_under_way;  // of a consumer that is no longer waited for
                continue;
            }
            if (reply.method != expected && reply.method != or_else)
                throw ConnectionError(session.peer() + ": the broker answered something else than was asked", 503,
                                      false);
            co_return reply;
        }
        channel->check();
        const bool in_time = co_await NeedInput{by};
        if (!in_time) throw Timeout(session.peer() + ": no answer in time");
    }
}

Operation<Received> control_answer(Session& session, amqp_method_number_t expected) {
    for (;;) {
        session.check();
        if (!session.control().empty()) {
            Received reply = std::move(session.control().front());
            session.control().pop_front();
            if (reply.method != expected)
                throw ConnectionError(session.peer() + ": the broker does not log in as AMQP says", 503, false);
            co_return reply;
        }
        co_await NeedInput{};
    }
}

/// The channel is there to be used, or throws.
void ready(Session& session, const ChannelState& channel) {
    session.check();
    channel.check();
}

Json client_properties() {
    return {{"product", "kombu-cpp"},
            {"platform", "C++"},
            {"capabilities",
             {{"publisher_confirms", true},
              {"basic.nack", true},
              {"consumer_cancel_notify", true},
              {"connection.blocked", true},
              {"authentication_failure_close", true}}}};
}

bool offers(std::string_view mechanisms, std::string_view wanted) {
    for (std::size_t begin = 0; begin < mechanisms.size();) {
        const std::size_t end = std::min(mechanisms.find(' ', begin), mechanisms.size());
        if (mechanisms.substr(begin, end - begin) == wanted) return true;
        begin = end + 1;
    }
    return false;
}

Delivery delivery_of(Received message) {
    const DecodedMethod method{message.payload};
    DeliveryInfo info;
    const auto fill = [&](const auto& fields) {
        info = {fields.delivery_tag, fields.redelivered != 0, std::string{view(fields.exchange)},
                std::string{view(fields.routing_key)}};
    };
    if (message.method == AMQP_BASIC_DELIVER_METHOD)
        fill(method.as<amqp_basic_deliver_t>());
    else
        fill(method.as<amqp_basic_get_ok_t>());
    return {std::move(message.body), std::move(message.properties), std::move(info), std::move(message.header_error)};
}

/// When the broker must have answered something that is asked while waiting until `until`: it may take its round trip,
/// also when there is no time to wait for a message. Giving up earlier could lose the message in the answer.
Deadline answered_by(Deadline until) { return std::max(until, Deadline::after(round_trip)); }

/// A message that is there now.
Operation<std::optional<Delivery>> get_by(Session& session, Channel channel, std::string queue, bool no_ack,
                                          Deadline by) {
    ready(session, *channel);
    amqp_basic_get_t fetch{0, bytes(queue), no_ack};
    session.send(channel->number(), AMQP_BASIC_GET_METHOD, &fetch);
    Received reply = co_await answer(session, channel, AMQP_BASIC_GET_OK_METHOD, AMQP_BASIC_GET_EMPTY_METHOD, by);
    std::optional<Delivery> delivery;
    if (reply.method == AMQP_BASIC_GET_OK_METHOD) {
        delivery = delivery_of(std::move(reply));
        if (!no_ack) channel->unsettled.insert(delivery->info.delivery_tag);
    }
    co_return delivery;
}

/// For a queue that vanishes with its last consumer: looks again and again instead of consuming.
Operation<std::optional<Delivery>> look_for_message(Session& session, Channel channel, std::string queue, bool no_ack,
                                                    Deadline until) {
    std::optional<Delivery> found;
    while (!found && !until.expired()) {
        const Deadline next = std::min(until, Deadline::after(look_interval));
        while (!next.expired()) {
            ready(session, *channel);
            co_await NeedInput{next};
        }
        found = co_await get_by(session, channel, queue, no_ack, answered_by(until));
    }
    co_return found;
}

/// Ends a consumer. Waits for the broker's word only for `patience`: a message that is still under way then is sent
/// back when it arrives, and until the word has come the channel counts as holding something.
Operation<> cancel(Session& session, Channel channel, std::string tag, Deadline patience) {
    amqp_basic_cancel_t cancel{bytes(tag), 0};
    session.send(channel->number(), AMQP_BASIC_CANCEL_METHOD, &cancel);
    ++channel->cancels_under_way;
    for (;;) {
        ready(session, *channel);
        while (!channel->replies.empty() && channel->replies.front().method == AMQP_BASIC_CANCEL_OK_METHOD) {
            channel->replies.pop_front();
            --channel->cancels_under_way;
        }
        if (channel->cancels_under_way == 0) break;
        const bool in_time = co_await NeedInput{patience};
        if (!in_time) break;
    }
    channel->consumers.erase(tag);
}

}  // namespace

Operation<> log_in(Session& session, std::string userid, std::string password, std::string virtual_host) {
    session.output().reserve(4096);  // growing later would leave a copy of the password behind
    session.output().append("AMQP\x00\x00\x09\x01", 8);
    {
        const Received start = co_await control_answer(session, AMQP_CONNECTION_START_METHOD);
        const DecodedMethod method{start.payload};
        const auto& fields = method.as<amqp_connection_start_t>();
        if (fields.version_major != 0 || fields.version_minor != 9 || !offers(view(fields.mechanisms), "PLAIN"))
            throw ConnectionError(session.peer() + ": the broker offers no AMQP 0-9-1 with PLAIN log-in", 0, false);
    }
    {
        TableEncoder tables;
        const Json properties = client_properties();
        std::string response;
        response.append(1, '\0').append(userid).append(1, '\0').append(password);
        amqp_connection_start_ok_t start_ok{tables.table(properties), bytes("PLAIN"), bytes(response), bytes("en_US")};
        session.send(0, AMQP_CONNECTION_START_OK_METHOD, &start_ok);
        ::explicit_bzero(response.data(), response.size());
        ::explicit_bzero(password.data(), password.size());
    }
    {
        const Received tune = co_await control_answer(session, AMQP_CONNECTION_TUNE_METHOD);
        const DecodedMethod method{tune.payload};
        const auto& fields = method.as<amqp_connection_tune_t>();
        session.wipe_output();  // the password was in it, and has been sent
        const std::uint16_t channel_max = fields.channel_max == 0 ? std::uint16_t{65535} : fields.channel_max;
        const std::uint32_t frame_max =
            fields.frame_max == 0 ? 131072 : std::min<std::uint32_t>(fields.frame_max, 131072);
        if (frame_max < min_frame_size)
            throw ConnectionError(session.peer() + ": the broker wants frames smaller than AMQP allows", 0, false);
        amqp_connection_tune_ok_t tune_ok{channel_max, frame_max, 0};
        session.send(0, AMQP_CONNECTION_TUNE_OK_METHOD, &tune_ok);
        session.tuned(channel_max, frame_max);
        amqp_connection_open_t open{bytes(virtual_host), {}, 0};
        session.send(0, AMQP_CONNECTION_OPEN_METHOD, &open);
    }
    co_await control_answer(session, AMQP_CONNECTION_OPEN_OK_METHOD);
}

Operation<> close_connection(Session& session) {
    session.check();
    amqp_connection_close_t close{200, bytes("goodbye"), 0, 0};
    session.send(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
    co_await control_answer(session, AMQP_CONNECTION_CLOSE_OK_METHOD);
}

Operation<> open_channel(Session& session, Channel channel, bool confirms) {
    session.check();
    amqp_channel_open_t open{};
    session.send(channel->number(), AMQP_CHANNEL_OPEN_METHOD, &open);
    if (confirms) {
        // Sent along: one round trip for both.
        amqp_confirm_select_t select{};
        session.send(channel->number(), AMQP_CONFIRM_SELECT_METHOD, &select);
    }
    co_await answer(session, channel, AMQP_CHANNEL_OPEN_OK_METHOD);
    if (confirms) co_await answer(session, channel, AMQP_CONFIRM_SELECT_OK_METHOD);
    channel->phase = ChannelState::Phase::open;
}

void close_channel_nowait(Session& session, ChannelState& channel) {
    if (channel.phase == ChannelState::Phase::closed || channel.phase == ChannelState::Phase::closing) return;
    amqp_channel_close_t close{200, bytes("goodbye"), 0, 0};
    session.send(channel.number(), AMQP_CHANNEL_CLOSE_METHOD, &close);
    channel.phase = ChannelState::Phase::closing;
    channel.unsettled.clear();
}

Operation<> close_channel(Session& session, Channel channel) {
    session.check();
    close_channel_nowait(session, *channel);
    while (channel->phase != ChannelState::Phase::closed) {
        co_await NeedInput{};
        session.check();
    }
}

Operation<> declare_exchange(Session& session, Channel channel, Exchange exchange) {
    ready(session, *channel);
    TableEncoder tables;
    amqp_exchange_declare_t declare{0,
                                    bytes(exchange.name()),
                                    bytes(exchange.type()),
                                    exchange.options().passive,
                                    exchange.durable(),
                                    exchange.auto_delete(),
                                    0,
                                    0,
                                    tables.table(exchange.options().arguments)};
    session.send(channel->number(), AMQP_EXCHANGE_DECLARE_METHOD, &declare);
    co_await answer(session, channel, AMQP_EXCHANGE_DECLARE_OK_METHOD);
}

Operation<> delete_exchange(Session& session, Channel channel, std::string name, bool if_unused) {
    ready(session, *channel);
    amqp_exchange_delete_t erase{0, bytes(name), if_unused, 0};
    session.send(channel->number(), AMQP_EXCHANGE_DELETE_METHOD, &erase);
    co_await answer(session, channel, AMQP_EXCHANGE_DELETE_OK_METHOD);
}

Operation<QueueInfo> declare_queue(Session& session, Channel channel, Queue queue) {
    ready(session, *channel);
    TableEncoder tables;
    amqp_queue_declare_t declare{0,
                                 bytes(queue.name()),
                                 queue.options().passive,
                                 queue.durable(),
                                 queue.exclusive(),
                                 queue.auto_delete(),
                                 0,
                                 tables.table(queue.declare_arguments())};
    session.send(channel->number(), AMQP_QUEUE_DECLARE_METHOD, &declare);
    const Received reply = co_await answer(session, channel, AMQP_QUEUE_DECLARE_OK_METHOD);
    const DecodedMethod method{reply.payload};
    const auto& ok = method.as<amqp_queue_declare_ok_t>();
    QueueInfo info{std::string{view(ok.queue)}, ok.message_count, ok.consumer_count};
    if (queue.auto_delete()) session.auto_delete_queues.insert(info.name);
    co_return info;
}

Operation<> bind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                       std::string routing_key, Json arguments) {
    ready(session, *channel);
    TableEncoder tables;
    amqp_queue_bind_t bind{0, bytes(queue), bytes(exchange), bytes(routing_key), 0, tables.table(arguments)};
    session.send(channel->number(), AMQP_QUEUE_BIND_METHOD, &bind);
    co_await answer(session, channel, AMQP_QUEUE_BIND_OK_METHOD);
}

Operation<> unbind_queue(Session& session, Channel channel, std::string queue, std::string exchange,
                         std::string routing_key, Json arguments) {
    ready(session, *channel);
    TableEncoder tables;
    amqp_queue_unbind_t unbind{0, bytes(queue), bytes(exchange), bytes(routing_key), tables.table(arguments)};
    session.send(channel->number(), AMQP_QUEUE_UNBIND_METHOD, &unbind);
    co_await answer(session, channel, AMQP_QUEUE_UNBIND_OK_METHOD);
}

Operation<std::uint32_t> purge_queue(Session& session, Channel channel, std::string name) {
    ready(session, *channel);
    amqp_queue_purge_t purge{0, bytes(name), 0};
    session.send(channel->number(), AMQP_QUEUE_PURGE_METHOD, &purge);
    const Received reply = co_await answer(session, channel, AMQP_QUEUE_PURGE_OK_METHOD);
    const DecodedMethod method{reply.payload};
    co_return method.as<amqp_queue_purge_ok_t>().message_count;
}

Operation<std::uint32_t> delete_queue(Session& session, Channel channel, std::string name, bool if_unused,
                                      bool if_empty) {
    ready(session, *channel);
    amqp_queue_delete_t erase{0, bytes(name), if_unused, if_empty, 0};
    session.send(channel->number(), AMQP_QUEUE_DELETE_METHOD, &erase);
    const Received reply = co_await answer(session, channel, AMQP_QUEUE_DELETE_OK_METHOD);
    const DecodedMethod method{reply.payload};
    co_return method.as<amqp_queue_delete_ok_t>().message_count;
}

void publish(Session& session, ChannelState& channel, const OutgoingMessage& message) {
    ready(session, channel);
    std::string& output = session.output();
    const std::size_t before = output.size();
    try {
        amqp_basic_publish_t publish{0, bytes(message.exchange), bytes(message.routing_key), message.mandatory, 0};
        session.send(channel.number(), AMQP_BASIC_PUBLISH_METHOD, &publish);
        TableEncoder tables;
        amqp_basic_properties_t properties = to_wire(message.properties, tables);
        session.send_content(channel.number(), properties, message.body);
    } catch (...) {
        output.resize(before);  // half a message would break the connection for the next one
        throw;
    }
}

Operation<> await_unblocked(Session& session, Deadline until) {
    while (session.blocked()) {
        const bool in_time = co_await NeedInput{until};
        session.check();
        if (!in_time && session.blocked())
            throw Timeout(session.peer() + ": the message was not sent: the broker is blocked: " + *session.blocked(),
                          false);
    }
}

Operation<> await_confirm(Session& session, Channel channel, std::uint64_t number, Deadline until) {
    for (;;) {
        session.check();
        const auto outcome = channel->confirms.outcome(number);
        if (outcome == Confirms::Outcome::refused) throw Nacked("the broker refused the message (basic.nack)");
        if (outcome == Confirms::Outcome::acknowledged) break;
        channel->check();
        const bool in_time = co_await NeedInput{until};
        if (in_time) continue;
        if (const auto& reason = session.blocked())
            // The connection is well, and the broker says what is wrong: the next message may pass.
            throw Timeout(
                session.peer() + ": the broker did not confirm the message in time: it is blocked: " + *reason, false);
        throw Timeout(session.peer() + ": the broker did not confirm the message in time");
    }
    const auto found = channel->unroutable.find(number);
    std::optional<Received> mine;
    if (found != channel->unroutable.end()) mine = std::move(found->second);
    // Those before it belong to calls that are over.
    channel->unroutable.erase(channel->unroutable.begin(), channel->unroutable.upper_bound(number));
    if (!mine) co_return;
    const Received returned = std::move(*mine);
    const DecodedMethod method{returned.payload};
    const auto& fields = method.as<amqp_basic_return_t>();
    throw Unroutable(std::string{view(fields.reply_text)} + " - exchange '" + std::string{view(fields.exchange)} +
                         "' has no queue for '" + std::string{view(fields.routing_key)} + "'",
                     fields.reply_code);
}

Operation<std::optional<Delivery>> get(Session& session, Channel channel, std::string queue, bool no_ack) {
    return get_by(session, std::move(channel), std::move(queue), no_ack, Deadline::never());
}

Operation<std::optional<Delivery>> wait_for_message(Session& session, Channel channel, std::string queue, bool no_ack,
                                                    Deadline until) {
    const auto asked = Clock::now();
    std::optional<Delivery> delivery = co_await get_by(session, channel, queue, no_ack, answered_by(until));
    if (delivery || until.expired()) co_return delivery;
    const auto trip = Clock::now() - asked;
    if (session.auto_delete_queues.contains(queue)) {
        delivery = co_await look_for_message(session, channel, queue, no_ack, until);
        co_return delivery;
    }

    // One message at most is sent ahead, so that none is held back from others.
    amqp_basic_qos_t qos{0, 1, 0};
    session.send(channel->number(), AMQP_BASIC_QOS_METHOD, &qos);
    const std::string tag = "kombu-cpp." + std::to_string(++channel->last_consumer);
    channel->consumers.insert(tag);  // before it is asked for: the first message may come with the answer
    amqp_basic_consume_t consume{};
    consume.queue = bytes(queue);
    consume.consumer_tag = bytes(tag);
    session.send(channel->number(), AMQP_BASIC_CONSUME_METHOD, &consume);
    co_await answer(session, channel, AMQP_BASIC_QOS_OK_METHOD, 0, answered_by(until));
    co_await answer(session, channel, AMQP_BASIC_CONSUME_OK_METHOD, 0, answered_by(until));

    bool in_time = true;
    while (in_time && channel->deliveries.empty() && channel->consumers.contains(tag)) {
        in_time = co_await NeedInput{until};
        ready(session, *channel);
    }
    const bool queue_deleted = !channel->consumers.contains(tag);
    if (!queue_deleted) co_await cancel(session, channel, tag, Deadline::after(cancel_grace + 4 * trip));

    if (!channel->deliveries.empty()) {
        delivery = delivery_of(std::move(channel->deliveries.front()));
        channel->deliveries.pop_front();
        channel->unsettled.insert(delivery->info.delivery_tag);
        if (no_ack) acknowledge(session, *channel, delivery->info.delivery_tag);
    }
    if (!delivery && queue_deleted) {
        close_channel_nowait(session, *channel);
        throw ChannelError("NOT_FOUND - the queue '" + queue + "' was deleted while it was waited for", 404);
    }
    co_return delivery;
}

void acknowledge(Session& session, ChannelState& channel, std::uint64_t delivery_tag) {
    ready(session, channel);
    amqp_basic_ack_t ack{delivery_tag, 0};
    session.send(channel.number(), AMQP_BASIC_ACK_METHOD, &ack);
    channel.unsettled.erase(delivery_tag);
}

void reject(Session& session, ChannelState& channel, std::uint64_t delivery_tag, bool requeue) {
    ready(session, channel);
    amqp_basic_reject_t reject{delivery_tag, requeue};
    session.send(channel.number(), AMQP_BASIC_REJECT_METHOD, &reject);
    channel.unsettled.erase(delivery_tag);
}

}  // namespace kombu::amqp
