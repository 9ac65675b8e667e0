// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"
#include "message_line.hpp"

#include <cstdint>
#include <vector>

namespace kombu::command {
namespace {

class GetCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("get", "Print messages that wait in a queue as JSON lines");
        broker_.add_to(*command);
        command->add_option("QUEUE", queue_, "The name of the queue")->required();
        command->add_option("-n,--count", count_, "How many at most (1)")->check(at_least(1));
        command->add_flag("--ack", ack_, "Remove them; otherwise they go back to the queue");
        command->footer("Exit code 4: the queue is empty.");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        Connection connection = broker_.connection();
        const ClosedAtEnd closed{connection};
        Channel channel = connection.default_channel();
        std::uint64_t printed = 0;
        std::vector<Message> kept;  // until the end: a message that goes back is the next one again
        while (printed < count_ && !stop.requested()) {
            std::optional<Message> message = channel.basic_get(queue_);
            if (!message) break;
            print_message(*message);
            ++printed;
            if (ack_)
                message->ack();
            else
                kept.push_back(std::move(*message));
        }
        for (auto message = kept.rbegin(); message != kept.rend(); ++message) message->requeue();
        channel.close();
        if (stop.requested()) return interrupted(count_of(printed) + (ack_ ? " consumed" : " printed and put back"));
        return printed == 0 ? ExitCode::empty : ExitCode::success;
    }

private:
    BrokerArguments broker_;
    std::string queue_{};
    std::uint64_t count_ = 1;
    bool ack_ = false;
};

}  // namespace

std::unique_ptr<Command> make_get() { return std::make_unique<GetCommand>(); }

}  // namespace kombu::command
