// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"
#include "message_line.hpp"

#include <kombu/json.hpp>

#include <httplib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace kombu::command {
namespace {

/// "131 ms", "12.4 s".
std::string duration_text(double seconds) {
    char text[32];
    if (seconds < 1e-3)
        std::snprintf(text, sizeof text, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        std::snprintf(text, sizeof text, "%.0f ms", seconds * 1e3);
    else
        std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
}

class PoolsCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("pools", "Print what a service's status page says");
        command->add_option("ADDRESS", address_, "HOST:PORT or the URL of the page; @FILE: read it")->required();
        command->add_option("-w,--watch", interval_, "Print it every so many seconds, until Ctrl-C")
            ->check(positive())
            ->type_name("S");
        command->add_flag("--json", json_, "Print the JSON");
        command->footer("KOMBU_STATUS_TOKEN in the environment is the token of the page.");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        const std::string url = base_url(text_or_first_line(address_));
        for (;;) {
            print(fetch(url));
            if (interval_ == 0) return ExitCode::success;
            const auto pause = std::chrono::duration<double>{interval_};
            if (!stop.wait_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(pause)))
                return ExitCode::interrupted;
        }
    }

private:
    static std::string base_url(std::string address) {
        if (address.starts_with("https://")) throw UsageError("pools: a status page has no TLS");
        if (!address.starts_with("http://")) address.insert(0, "http://");
        if (address.find('@') != std::string::npos) throw UsageError("pools: a status page has no user");
        return address.substr(0, address.find_first_of("/?", 7));
    }

    static Json fetch(const std::string& url) {
        httplib::Client client{url};
        if (!client.is_valid()) throw UsageError("pools: " + url + " is not HOST:PORT");
        client.set_connection_timeout(5, 0);
        client.set_read_timeout(10, 0);
        httplib::Headers headers;
        if (const char* const token = std::getenv("KOMBU_STATUS_TOKEN"))
            headers.emplace("Authorization", std::string{"Bearer "} + token);
        const httplib::Result answer = client.Get("/pools.json", headers);
        if (!answer) throw ConnectionError(url + ": " + httplib::to_string(answer.error()));
        if (answer->status == 401) throw ConnectionError(url + ": the page wants a token (KOMBU_STATUS_TOKEN)");
        Json json = Json::parse(answer->body, nullptr, false);
        if (answer->status != 200 || !is_status(json))
            throw ConnectionError(url + ": this is not a status page of kombu-cpp");
        return json;
    }

    static bool is_status(const Json& json) {
        const auto lists = [&](const char* name) {
            return json.contains(name) && json[name].is_array() &&
                   std::all_of(json[name].begin(), json[name].end(), [](const Json& each) { return each.is_object(); });
        };
        return json.is_object() && lists("pools") && lists("brokers");
    }

    void print(const Json& json) const try {
        if (json_) {
            std::printf("%s\n", json.dump().c_str());
            if (std::fflush(stdout) != 0) throw OutputClosed{};
            return;
        }
        std::printf("%s, process %s\n", presentable(json.value("title", "")).c_str(),
                    json.at("process").dump().c_str());
        std::printf("%-44s %8s %5s %7s %9s  %s\n", "POOL", "IN USE", "IDLE", "WAITING", "WAIT 99%", "OLDEST LEASE");
        for (const Json& pool : json["pools"]) print_pool(pool);
        std::printf("%-44s %8s %10s %10s %8s  %s\n", "BROKER", "CONNECTED", "PUBLISHED", "RECEIVED", "FAILED", "STATE");
        for (const Json& broker : json["brokers"]) print_broker(broker, json["pools"]);
        if (interval_ != 0) std::printf("\n");
        if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw OutputClosed{};
    } catch (const Json::exception&) {
        throw ConnectionError("the service answers as no status page of kombu-cpp does");
    }

    static void print_pool(const Json& pool) {
        const auto limit = pool.value("limit", 0ULL);
        const std::string use =
            std::to_string(pool.value("in_use", 0ULL)) + '/' + (limit == 0 ? "-" : std::to_string(limit));
        std::string lease = "-";
        if (const Json& oldest = pool.at("oldest_lease"); oldest.is_object()) {
            const std::string file = oldest.value("file", "");
            lease = duration_text(oldest.value("age", 0.0)) + " " + presentable(file.substr(file.rfind('/') + 1)) +
                    ":" + oldest.at("line").dump();
        }
        const double wait = std::min(pool.at("wait").value("p99", 0.0), pool.value("longest_wait", 0.0));
        std::printf("%-44s %8s %5s %7s %9s  %s\n", presentable(pool.value("name", "")).c_str(), use.c_str(),
                    pool.at("idle").dump().c_str(), pool.at("waiting").dump().c_str(), duration_text(wait).c_str(),
                    lease.c_str());
    }

    static void print_broker(const Json& broker, const Json& pools) {
        const std::string name = broker.value("broker", "");
        std::string state = "up";
        for (const Json& pool : pools)
            if (pool.value("key", "") == name && pool.value("is_down", false))
                state = "down: " + pool.value("last_error", "");
        const auto failed =
            broker.value("refused", 0ULL) + broker.value("returned", 0ULL) + broker.value("failed", 0ULL);
        std::printf("%-44s %8s %10s %10s %8llu  %s\n", presentable(name).c_str(),
                    broker.at("connections").dump().c_str(), broker.at("published").dump().c_str(),
                    broker.at("received").dump().c_str(), failed, presentable(state).c_str());
    }

    std::string address_{};
    double interval_ = 0;
    bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pools() { return std::make_unique<PoolsCommand>(); }

}  // namespace kombu::command
