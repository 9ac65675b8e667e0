// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"

#include <kombu/entity.hpp>

#include <cstdio>

namespace kombu::command {
namespace {

class DeclareCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("declare", "Declare a queue, an exchange, and a binding");
        broker_.add_to(*command);
        command->add_option("QUEUE", queue_, "Its name; without it, only the exchange is declared");
        command->add_option("-e,--exchange", exchange_, "The exchange that the queue is bound to")->type_name("NAME");
        command->add_option("-T,--type", type_, "direct, topic, fanout or headers (direct)")
            ->type_name("TYPE")
            ->check(CLI::IsMember({"direct", "topic", "fanout", "headers"}));
        command->add_option("-k,--routing-key", routing_key_, "Of the binding; the queue's name if not set")
            ->type_name("KEY");
        command->add_option("-q,--queue-type", queue_type_, "classic, quorum or stream (the broker's default)")
            ->type_name("TYPE")
            ->check(CLI::IsMember({"classic", "quorum", "stream"}));
        command->add_option("-a,--argument", arguments_, "Of the queue, such as x-max-length=1000; repeatable")
            ->type_name("NAME=VALUE")
            ->allow_extra_args(false);
        command->add_flag("--transient", transient_, "Gone when the broker restarts");
        command->add_flag("--auto-delete", auto_delete_, "Gone when the last user has gone");
        return command;
    }

    ExitCode run(StopSignal&) override {
        if (queue_.empty() && exchange_.empty()) throw UsageError("declare: neither a queue nor --exchange is named");
        const Exchange exchange{exchange_, type_, {.durable = !transient_, .auto_delete = auto_delete_}};
        Connection connection = broker_.connection();
        Channel channel = connection.default_channel();
        if (queue_.empty()) {
            channel.exchange_declare(exchange);
            std::printf("exchange %s declared\n", exchange_.c_str());
            return ExitCode::success;
        }
        QueueOptions options{.durable = !transient_,
                             .auto_delete = auto_delete_,
                             .queue_arguments = object_of(arguments_, "--argument")};
        if (!queue_type_.empty()) options.queue_arguments["x-queue-type"] = queue_type_;
        const Queue queue = exchange_.empty()
                                ? Queue{queue_, std::move(options)}
                                : Queue{queue_, exchange, routing_key_.value_or(queue_), std::move(options)};
        channel.declare(queue);
        const QueueInfo info = channel.queue_declare(queue);
        std::printf("queue %s declared: %s, %s\n", queue_.c_str(), count_of(info.messages).c_str(),
                    count_of(info.consumers, "consumer").c_str());
        return ExitCode::success;
    }

private:
    BrokerArguments broker_;
    std::string queue_{}, exchange_{}, type_ = "direct", queue_type_{};
    std::optional<std::string> routing_key_{};
    std::vector<std::string> arguments_{};
    bool transient_ = false, auto_delete_ = false;
};

}  // namespace

std::unique_ptr<Command> make_declare() { return std::make_unique<DeclareCommand>(); }

}  // namespace kombu::command
