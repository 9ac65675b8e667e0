// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"
#include "progress.hpp"

#include <kombu/batch.hpp>
#include <kombu/consumer.hpp>
#include <kombu/producer.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

namespace kombu::command {
namespace {

/// Milliseconds as text, as every sender but a wrong one writes them.
std::optional<std::chrono::duration<double>> expiration_of(const std::optional<std::string>& text) {
    std::uint32_t milliseconds = 0;
    if (!text) return std::nullopt;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), milliseconds);
    if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
    return std::chrono::duration<double, std::milli>{milliseconds};
}

/// How to publish a message again as it was, to a queue. The broker gives it a new exchange and routing key. A user_id
/// is left out: RabbitMQ accepts that of its publisher only. So is a property with a value that AMQP does not have,
/// which a Redis server may hold.
PublishOptions copy_options(const Message& message, const std::string& queue) {
    const Properties& from = message.properties();
    PublishOptions options{.exchange = Exchange{},
                           .routing_key = queue,
                           .headers = message.headers(),
                           .priority = std::clamp(from.priority.value_or(0), 0, 255),
                           .expiration = expiration_of(from.expiration),
                           .mandatory = true,
                           .content_type = from.content_type.value_or(""),
                           .content_encoding = from.content_encoding.value_or(""),
                           .correlation_id = from.correlation_id,
                           .reply_to = from.reply_to,
                           .message_id = from.message_id,
                           .type = from.type,
                           .app_id = from.app_id};
    // RabbitMQ would route by the first two again, and counts anew; a Redis server notes the last one here.
    for (const char* const header : {"CC", "BCC", "x-delivery-count"}) options.headers.erase(header);
    if (message.redelivered()) options.headers.erase("redelivered");
    if (from.delivery_mode == 1 || from.delivery_mode == 2) options.delivery_mode = DeliveryMode{*from.delivery_mode};
    if (from.timestamp) options.timestamp = Timestamp{*from.timestamp};
    return options;
}

class MoveCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("move", "Move the messages of a queue to another one");
        command->add_option("URL", from_url_, "Of the broker that has the messages")->required();
        command->add_option("QUEUE", source_, "The queue that they are taken from")->required();
        command->add_option("TO_URL", to_url_, "Of the broker that gets them; may be the same")->required();
        command->add_option("TO_QUEUE", target_, "The queue that they are put into")->required();
        command->add_option("-n,--count", count_, "How many at most (until the queue is empty)")->check(at_least(1));
        add_timeout(*command, timeout_);
        command->footer(
            "A message is removed when the other broker has confirmed it: none is\n"
            "lost, and after a failure some may be in both queues.");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        Connection from = connection_to(from_url_, timeout_), to = connection_to(to_url_, timeout_);
        if (from == to && source_ == target_) throw UsageError("move: both queues are the same");
        from.connect();
        to.connect();
        Progress progress{"moved", count_ == unlimited ? std::nullopt : std::optional{count_}};
        try {
            move_all(from, to, stop, progress);
        } catch (const Error&) {
            say(count_of(moved_) + " moved before the error");
            throw;
        }
        if (stop.requested()) return interrupted(count_of(moved_) + " moved");
        std::printf("%s moved\n", count_of(moved_).c_str());
        return ExitCode::success;
    }

private:
    static constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::size_t batch_size = 200;

    void move_all(Connection& from, Connection& to, const StopSignal& stop, Progress& progress) {
        const ClosedAtEnd closed{from};
        Channel channel = from.default_channel();
        Producer producer{to};
        // The same queue by another name of the broker or the user would never be empty.
        if (source_ == target_) count_ = std::min(count_, messages_in(from, source_));
        std::vector<Message> messages;
        // The consumer's channel ends with it: what was not acknowledged is put back.
        Consumer consumer{
            from,
            {Queue{source_, QueueOptions{.no_declare = true}}},
            {.prefetch_count = static_cast<std::uint16_t>(std::clamp<std::uint64_t>(count_, 1, 2 * batch_size)),
             .auto_declare = false}};
        consumer.on_message([&](Message& message) { messages.push_back(std::move(message)); });
        consumer.consume();
        while (moved_ < count_ && !stop.requested()) {
            const std::uint64_t wanted = std::min<std::uint64_t>(batch_size, count_ - moved_);
            bool is_waiting = true;
            while (messages.size() < wanted && !stop.requested() && is_waiting)
                is_waiting = from.drain_events(std::chrono::milliseconds{messages.empty() ? 200 : 10});
            if (messages.empty() && !is_waiting) {
                // Another consumer may be slower than this one: the broker knows.
                std::optional<Message> last = channel.basic_get(source_);
                if (!last) return;
                messages.push_back(std::move(*last));
            }
            publish_and_acknowledge(producer, messages);
            messages.clear();
            progress.update(moved_);
        }
    }

    void publish_and_acknowledge(Producer& producer, std::vector<Message>& messages) {
        Batch batch = producer.batch();
        for (const Message& message : messages)
            batch.publish(std::as_bytes(std::span{message.raw_body()}), copy_options(message, target_));
        std::vector<bool> failed(messages.size());
        std::exception_ptr error;
        try {
            batch.commit();
        } catch (const BatchError& refused) {
            error = refused.failures().front().error;
            for (const auto& failure : refused.failures()) failed[failure.index] = true;
        }
        for (std::size_t i = 0; i < messages.size(); ++i) {
            if (failed[i]) continue;
            messages[i].ack();
            ++moved_;
        }
        if (error) std::rethrow_exception(error);
    }

    std::string from_url_{}, source_{}, to_url_{}, target_{};
    std::optional<double> timeout_{};
    std::uint64_t count_ = unlimited;
    std::uint64_t moved_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_move() { return std::make_unique<MoveCommand>(); }

}  // namespace kombu::command
