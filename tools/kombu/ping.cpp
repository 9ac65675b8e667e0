// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace kombu::command {
namespace {

class PingCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("ping", "Connect, and say what the broker is");
        broker_.add_to(*command);
        command->add_option("-n,--count", count_, "How often to measure the round trip (1)")->check(at_least(1));
        command->add_flag("--json", json_, "Print JSON");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        using Milliseconds = std::chrono::duration<double, std::milli>;
        Connection connection = broker_.connection();
        const auto start = Clock::now();
        connection.connect();
        const Milliseconds connecting = Clock::now() - start;
        BrokerInfo info = connection.broker_info();
        auto round_trip = info.round_trip;
        for (int i = 1; i < count_ && !stop.requested(); ++i)
            round_trip = std::min(round_trip, connection.broker_info().round_trip);

        const std::string product = info.product.empty() ? connection.transport() : info.product;
        const Milliseconds best = round_trip;
        if (json_) {
            const Json json = {{"url", connection.as_uri()},    {"product", product},
                               {"version", info.version},       {"tls", info.tls},
                               {"round_trip_ms", best.count()}, {"connect_ms", connecting.count()}};
            std::printf("%s\n", json.dump().c_str());
        } else {
            std::printf("%s%s%s at %s\n", product.c_str(), info.version.empty() ? "" : " ", info.version.c_str(),
                        connection.as_uri().c_str());
            std::printf("%s, connected in %.1f ms, round trip %.3f ms\n",
                        info.tls.empty() ? "not encrypted" : info.tls.c_str(), connecting.count(), best.count());
        }
        return ExitCode::success;
    }

private:
    BrokerArguments broker_;
    int count_ = 1;
    bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_ping() { return std::make_unique<PingCommand>(); }

}  // namespace kombu::command
