// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"

#include <cstdio>

namespace kombu::command {
namespace {

class PurgeCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("purge", "Delete the messages that wait in a queue");
        broker_.add_to(*command);
        command->add_option("QUEUE", queue_, "The name of the queue")->required();
        return command;
    }

    ExitCode run(StopSignal&) override {
        Connection connection = broker_.connection();
        const std::uint32_t purged = connection.default_channel().queue_purge(queue_);
        std::printf("%s purged\n", count_of(purged).c_str());
        return ExitCode::success;
    }

private:
    BrokerArguments broker_;
    std::string queue_{};
};

}  // namespace

std::unique_ptr<Command> make_purge() { return std::make_unique<PurgeCommand>(); }

}  // namespace kombu::command
