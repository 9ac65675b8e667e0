// SPDX-License-Identifier: BSD-3-Clause
#include "bench_load.hpp"
#include "bench_report.hpp"
#include "command.hpp"

#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace kombu::command {
namespace {

void write_file(const std::string& path, const std::string& text) {
    if (path == "-") {
        std::fputs(text.c_str(), stdout);
        return;
    }
    std::ofstream file{path};
    file << text;
    if (!file.flush()) throw UsageError(path + ": cannot be written");
}

class BenchCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("bench", "Measure publishing through a pool, and receiving");
        broker_.add_to(*command);
        command->add_option("-d,--duration", options_.seconds, "Seconds (10)")->check(positive())->type_name("S");
        command->add_option("-T,--threads", options_.threads, "That publish (4)")->check(at_least(1, 10000));
        command->add_option("-l,--limit", options_.limit, "Of the pool of connections (4)")->check(at_least(1, 10000));
        command->add_option("-C,--consumers", options_.consumers, "That receive, 0 for none (1)")
            ->check(at_least(0, 1000));
        command->add_option("-s,--size", options_.size, "Bytes of a body, 20 at least (100)")
            ->check(at_least(20, 128 << 20));
        command->add_option("-r,--rate", options_.rate, "Messages a second, all threads together")
            ->check(positive())
            ->type_name("N");
        command->add_option("-q,--queue", queue_, "An existing, empty queue, which is not deleted")->type_name("NAME");
        command->add_flag("--no-confirm", no_confirm_, "Do not wait for the broker's confirmations");
        command->add_option("--json", json_, "Write the results as JSON; - is standard output")->type_name("FILE");
        command->add_option("--csv", csv_, "Write a line for each second as CSV")->type_name("FILE");
        command->add_option("--plot", plot_, "Draw rates and latencies over time as SVG")->type_name("FILE");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        const Connection broker = broker_.connection({{"confirm_publish", !no_confirm_}});
        Connection control = broker;
        control.connect();
        const std::string queue = queue_.empty() ? "kombu.bench." + std::to_string(::getpid()) : queue_;
        if (!queue_.empty()) refuse_used_queue(control);
        if (queue_.empty()) control.default_channel().queue_declare(Queue{queue, QueueOptions{.auto_delete = false}});
        BenchResult result;
        try {
            result = run_bench(broker, queue, options_, stop, [&](const BenchSecond& second) { show(second); });
        } catch (...) {
            delete_queue(control, queue);
            throw;
        }
        if (has_terminal()) show_status_line("");
        delete_queue(control, queue);
        report(result, broker);
        if (stop.requested()) return interrupted(count_of(result.total.published) + " published");
        return result.total.published == 0 ? ExitCode::failed : ExitCode::success;
    }

private:
    /// What is received is removed.
    void refuse_used_queue(Connection& control) const {
        if (const std::uint64_t messages = messages_in(control, queue_))
            throw UsageError("bench: " + queue_ + " has " + count_of(messages) + ", which would be lost");
    }

    void show(const BenchSecond& second) const {
        if (!has_terminal()) return;
        char text[160];
        std::snprintf(text, sizeof text, "%.0f s of %.0f, %.0f s left: published %.0f/s, received %.0f/s, p99 %.2f ms",
                      second.at, options_.seconds, std::max(options_.seconds - second.at, 0.0),
                      static_cast<double>(second.counts.published) / second.length,
                      static_cast<double>(second.counts.received) / second.length,
                      std::chrono::duration<double, std::milli>(second.counts.publish.quantile(0.99)).count());
        show_status_line(text);
    }

    void delete_queue(Connection& control, const std::string& queue) const {
        if (!queue_.empty()) return;
        try {
            control.default_channel().queue_delete(queue);
        } catch (const Error& error) {
            say("the queue " + queue + " remains: " + error.what());
        }
    }

    void report(const BenchResult& result, const Connection& broker) const {
        const Json settings = {{"url", broker.as_uri()},      {"threads", options_.threads},
                               {"limit", options_.limit},     {"consumers", options_.consumers},
                               {"size", options_.size},       {"rate", options_.rate},
                               {"seconds", options_.seconds}, {"confirms", !no_confirm_}};
        if (!json_.empty()) write_file(json_, json_report(result, settings).dump(2) + '\n');
        if (!csv_.empty()) write_file(csv_, csv_report(result));
        if (!plot_.empty())
            write_file(plot_, svg_report(result, broker.as_uri() + ", " + count_of(options_.threads, "thread") +
                                                     ", limit " + std::to_string(options_.limit) + ", " +
                                                     std::to_string(options_.size) + " bytes"));
        if (json_ != "-" && csv_ != "-" && plot_ != "-") std::fputs(text_report(result).c_str(), stdout);
    }

    BrokerArguments broker_;
    BenchOptions options_{};
    std::string queue_{}, json_{}, csv_{}, plot_{};
    bool no_confirm_ = false;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<BenchCommand>(); }

}  // namespace kombu::command
