// SPDX-License-Identifier: BSD-3-Clause
// Arguments that several commands have.
#include "command.hpp"
#include "progress.hpp"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <utility>

namespace kombu::command {

void BrokerArguments::add_to(CLI::App& command, const std::string& name) {
    command.add_option(name, url_, "Of the broker; @FILE: read it from a file")->required();
    add_timeout(command, timeout_);
}

Connection BrokerArguments::connection(const Json& transport_options) const {
    return connection_to(url_, timeout_, transport_options);
}

void add_timeout(CLI::App& command, std::optional<double>& seconds) {
    command.add_option("-t,--timeout", seconds, "Seconds for each request (5 to connect, 30)")
        ->check(CLI::PositiveNumber)
        ->type_name("S");
}

std::string text_or_first_line(const std::string& text) {
    if (!text.starts_with('@')) return text;
    std::ifstream file;
    if (text != "@-") file.open(text.substr(1));
    std::string line;
    if (!std::getline(text == "@-" ? std::cin : file, line))
        throw UsageError("no URL can be read from " + text.substr(1));
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

void say(const std::string& sentence) {
    if (has_terminal()) show_status_line("");
    std::fprintf(stderr, "kombu: %s\n", sentence.c_str());
}

ExitCode interrupted(const std::string& done) {
    say("interrupted: " + done);
    return ExitCode::interrupted;
}

std::string count_of(std::uint64_t count, const std::string& noun) {
    return std::to_string(count) + ' ' + noun + (count == 1 ? "" : "s");
}

}  // namespace kombu::command
