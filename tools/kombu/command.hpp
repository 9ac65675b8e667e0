// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "stop_signal.hpp"
#include "terminal.hpp"

#include <CLI/CLI.hpp>
#include <kombu/connection.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/// The commands of the program.
namespace kombu::command {

/// How the program ends. Documented in kombu.1.
enum class ExitCode {
    success = 0,
    /// The broker refused, or another error occurred.
    failed = 1,
    /// The command line, a URL or an input is invalid.
    usage = 2,
    /// The broker cannot be reached, refuses the user, or was lost.
    unreachable = 3,
    /// There is no message.
    empty = 4,
    interrupted = 130,
};

/// An input that the user must change.
class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A command: describes its arguments, and runs when it was chosen.
class Command {
public:
    Command() = default;
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;
    virtual ~Command() = default;

    /// Adds the command to the program.
    virtual CLI::App* add_to(CLI::App& program) = 0;
    /// Throws when it fails; what it did before is in the text of the error.
    virtual ExitCode run(StopSignal& stop) = 0;
};

std::unique_ptr<Command> make_ping();
std::unique_ptr<Command> make_publish();
std::unique_ptr<Command> make_get();
std::unique_ptr<Command> make_consume();
std::unique_ptr<Command> make_purge();
std::unique_ptr<Command> make_declare();
std::unique_ptr<Command> make_move();
std::unique_ptr<Command> make_bench();
/// Only with cpp-httplib.
std::unique_ptr<Command> make_pools();
/// `program`: whose completion it prints.
std::unique_ptr<Command> make_completion(const CLI::App& program);

/// The arguments of a command that uses a broker.
class BrokerArguments {
public:
    void add_to(CLI::App& command);
    /// Described, not connected.
    Connection connection(const Json& transport_options = Json::object()) const;

private:
    std::string url_{};
    std::optional<double> timeout_{};
};

void add_timeout(CLI::App& command, std::optional<double>& seconds);

/// The text itself; for `@FILE` the first line of a file, for `@-` that of standard input.
std::string text_or_first_line(const std::string& text);

/// The connection that a URL names; `@FILE` stands for the first line of a file, `@-` for one of standard input.
/// `timeout`: of each request, in seconds; the library's defaults if not set.
Connection connection_to(const std::string& url, std::optional<double> timeout,
                         Json transport_options = Json::object());

/// `NAME=VALUE`, as Json: a value that is valid JSON is that, another one is text.
Json object_of(const std::vector<std::string>& assignments, const char* option);

/// The number of messages that wait in a queue. Throws ChannelError when there is no such queue; on Redis that is an
/// empty one.
std::uint64_t messages_in(Connection& connection, const std::string& queue);

/// Closes a connection at the end of a scope, after what was made from it. On Redis messages go back to their queue
/// with requests; an end of the process before their replies could lose those, and keep the messages for an hour.
class ClosedAtEnd {
public:
    explicit ClosedAtEnd(Connection& connection) noexcept : connection_(connection) {}
    ClosedAtEnd(const ClosedAtEnd&) = delete;
    ClosedAtEnd& operator=(const ClosedAtEnd&) = delete;
    ~ClosedAtEnd() { connection_.close(); }

private:
    Connection& connection_;
};

/// Says what was done until the stop was requested.
ExitCode interrupted(const std::string& done);

/// Accepts numbers from `least` on, with a sentence for others.
CLI::Validator at_least(double least, double most = 1e12);
/// The same for seconds and rates.
CLI::Validator positive();

/// "1 message", "2 messages".
std::string count_of(std::uint64_t count, const std::string& noun = "message");

}  // namespace kombu::command
