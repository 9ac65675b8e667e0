// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"
#include "message_line.hpp"

#include <kombu/consumer_loop.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <vector>

namespace kombu::command {
namespace {

/// Tells of outages on standard error.
class OutageReporter final : public ConsumerObserver {
    void on_consuming(const std::string&) override {
        if (is_lost_.exchange(false)) say("consuming again");
    }
    void on_lost(const std::exception& error) override {
        is_lost_ = true;
        say(std::string{error.what()} + "; trying again");
    }

    std::atomic<bool> is_lost_{false};
};

class ConsumeCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("consume", "Print the messages of a queue as JSON lines");
        broker_.add_to(*command);
        command->add_option("QUEUE", queue_, "The name of the queue")->required();
        command->add_option("-n,--count", count_, "How many; without it, until the queue is empty")->check(at_least(1));
        command->add_flag("--ack", ack_, "Remove them; otherwise they go back at the end");
        command->add_flag("-f,--follow", follow_, "Wait for more, until Ctrl-C or --count");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        Connection connection = broker_.connection();
        const ClosedAtEnd closed{connection};
        if (follow_)
            follow(connection, stop);
        else
            print_waiting(connection, stop);
        return stop.requested() ? interrupted(count_of(printed_) + (ack_ ? " consumed" : " printed and put back"))
                                : ExitCode::success;
    }

private:
    void print_waiting(Connection& connection, const StopSignal& stop) {
        Channel channel = connection.channel();
        std::vector<Message> kept;
        while (printed_ < count_ && !stop.requested()) {
            std::optional<Message> message = channel.basic_get(queue_);
            if (!message) break;
            print(*message, kept);
        }
        for (auto message = kept.rbegin(); message != kept.rend(); ++message) message->requeue();
        channel.close();
    }

    void print(Message& message, std::vector<Message>& kept) {
        print_message(message);
        ++printed_;
        if (ack_)
            message.ack();
        else
            kept.push_back(std::move(message));
    }

    /// Goes on after outages; messages that were not acknowledged may then come twice.
    void follow(Connection& connection, const StopSignal& stop) {
        messages_in(connection, queue_);  // the loop would wait for a queue that does not exist
        std::stop_source enough;
        const std::stop_callback on_signal{stop.token(), [&] { enough.request_stop(); }};
        // Unlimited without --ack: nothing is settled before the end.
        ConsumerLoop loop{
            connection,
            {Queue{queue_, QueueOptions{.no_declare = true}}},
            {.consumer = {.prefetch_count = static_cast<std::uint16_t>(ack_ ? 100 : 0), .auto_declare = false},
             .ack = AckMode::manual,
             .observer = std::make_shared<OutageReporter>()}};
        std::vector<Message> kept;
        std::exception_ptr failure;
        loop.on_message([&](Message& message) {
            if (failure || printed_ >= count_) return message.requeue();
            try {
                print(message, kept);
            } catch (const OutputClosed&) {
                failure = std::current_exception();
                message.requeue();
            }
            if (failure || printed_ >= count_) enough.request_stop();
        });
        loop.run(enough.get_token());
        if (failure) std::rethrow_exception(failure);
    }

    BrokerArguments broker_;
    std::string queue_{};
    std::uint64_t count_ = std::numeric_limits<std::uint64_t>::max();
    bool ack_ = false, follow_ = false;
    std::uint64_t printed_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_consume() { return std::make_unique<ConsumeCommand>(); }

}  // namespace kombu::command
