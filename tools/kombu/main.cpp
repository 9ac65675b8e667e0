// SPDX-License-Identifier: BSD-3-Clause
// The program `kombu`: chooses the command, and turns errors into a sentence and an exit code.
#include "command.hpp"
#include "help_formatter.hpp"

#include <kombu/error.hpp>
#include <kombu/version.hpp>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace kombu::command;

ExitCode fail(ExitCode code, const std::string& sentence) {
    say(sentence);
    return code;
}

ExitCode fail_usage(const CLI::App& program, const CLI::ParseError& error) {
    std::string help = "kombu";
    for (const CLI::App* const chosen : program.get_subcommands()) help += ' ' + chosen->get_name();
    std::string text = error.what();
    while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
    return fail(ExitCode::usage, text + "; see " + help + " --help");
}

ExitCode run(Command& command) {
    StopSignal stop;
    try {
        const ExitCode code = command.run(stop);
        if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
            return fail(ExitCode::failed, "standard output cannot be written");
        return code;
    } catch (const UsageError& error) {
        return fail(ExitCode::usage, error.what());
    } catch (const kombu::ConfigurationError& error) {
        return fail(ExitCode::usage, error.what());
    } catch (const kombu::EncodeError& error) {
        return fail(ExitCode::usage, error.what());
    } catch (const kombu::SerializerNotInstalled& error) {
        return fail(ExitCode::usage, error.what());
    } catch (const kombu::ConnectionError& error) {
        return fail(ExitCode::unreachable, error.what());
    } catch (const std::exception& error) {
        return fail(ExitCode::failed, error.what());
    }
}

int run_program(int argc, char** argv) {
    CLI::App program{"Message brokers from the command line: RabbitMQ, Redis.", "kombu"};
    program.set_version_flag("-V,--version", std::string{"kombu "} + KOMBU_VERSION_STRING, "Print the version");
    program.set_help_flag("-h,--help", "Print this help");
    program.require_subcommand(0, 1);
    program.formatter(std::make_shared<HelpFormatter>());

    std::vector<std::pair<CLI::App*, std::unique_ptr<Command>>> commands;
    const auto add = [&](std::unique_ptr<Command> command) {
        CLI::App* const app = command->add_to(program);
        commands.emplace_back(app, std::move(command));
    };
    add(make_ping());
    add(make_publish());
    add(make_get());
    add(make_consume());
    add(make_declare());
    add(make_purge());
    add(make_move());
    add(make_bench());
#ifdef KOMBU_COMMAND_WITH_POOLS
    add(make_pools());
#endif
    add(make_completion(program));
    program.footer("Each has --help; man kombu has examples and the exit codes.");
    try {
        program.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
        return program.exit(asked);
    } catch (const CLI::ParseError& error) {
        return static_cast<int>(fail_usage(program, error));
    }
    for (const auto& [app, command] : commands)
        if (app->parsed()) return static_cast<int>(run(*command));
    return static_cast<int>(fail(ExitCode::usage, "no command; see kombu --help"));
}

}  // namespace

int main(int argc, char** argv) try { return run_program(argc, argv); } catch (const std::exception& error) {
    say(error.what());
    return static_cast<int>(ExitCode::failed);
}
