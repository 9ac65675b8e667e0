// SPDX-License-Identifier: BSD-3-Clause
// Arguments that several commands have.
#include "command.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <utility>

namespace kombu::command {

void BrokerArguments::add_to(CLI::App& command) {
    command.add_option("URL", url_, "Of the broker; @FILE: read it from a file")->required();
    add_timeout(command, timeout_);
}

Connection BrokerArguments::connection(const Json& transport_options) const {
    return connection_to(url_, timeout_, transport_options);
}

void add_timeout(CLI::App& command, std::optional<double>& seconds) {
    command.add_option("-t,--timeout", seconds, "Seconds for each request (5 to connect, 30)")
        ->check(positive())
        ->type_name("S");
}

std::string text_or_first_line(const std::string& text) {
    if (!text.starts_with('@')) return text;
    std::string line;
    if (text == "@-") {
        // Byte by byte: what follows is for the command.
        for (char byte = 0; ::read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n';) line += byte;
    } else {
        std::ifstream file{text.substr(1)};
        std::getline(file, line);
    }
    if (line.empty()) throw UsageError("no URL can be read from " + text.substr(1));
    return line;
}

Connection connection_to(const std::string& url, std::optional<double> timeout, Json transport_options) {
    const std::string text = text_or_first_line(url);
    ConnectionOptions options;
    if (timeout) {
        options.connect_timeout = std::chrono::duration<double>{*timeout};
        transport_options["operation_timeout"] = *timeout;
    }
    options.transport_options = std::move(transport_options);
    return Connection{text, options};
}

Json object_of(const std::vector<std::string>& assignments, const char* option) {
    Json object = Json::object();
    for (const std::string& assignment : assignments) {
        const std::size_t equals = assignment.find('=');
        if (equals == std::string::npos || equals == 0)
            throw UsageError(std::string{option} + ": '" + assignment + "' is not NAME=VALUE");
        const std::string value = assignment.substr(equals + 1);
        Json parsed = Json::parse(value, nullptr, false);
        object[assignment.substr(0, equals)] = parsed.is_discarded() ? Json(value) : std::move(parsed);
    }
    return object;
}

CLI::Validator at_least(double least, double most) {
    return CLI::Validator{
        [=](std::string& text) {
            double value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most)
                return std::string{};
            char sentence[80];
            std::snprintf(sentence, sizeof sentence, "must be a number from %.15g to %.15g", least, most);
            return std::string{sentence};
        },
        ""};
}

CLI::Validator positive() { return at_least(0.001, 1e9); }

std::uint64_t messages_in(Connection& connection, const std::string& queue) {
    try {
        return connection.channel().queue_declare(Queue{queue, QueueOptions{.passive = true}}).messages;
    } catch (const ChannelError& error) {
        if (error.code() == 404 && !connection.transport().starts_with("amqp")) return 0;
        throw;
    }
}

ExitCode interrupted(const std::string& done) {
    say("interrupted: " + done);
    return ExitCode::interrupted;
}

std::string count_of(std::uint64_t count, const std::string& noun) {
    return std::to_string(count) + ' ' + noun + (count == 1 ? "" : "s");
}

}  // namespace kombu::command
