// SPDX-License-Identifier: BSD-3-Clause
// Completions for shells, made from the arguments themselves.
#include "command.hpp"

#include <cstdio>

namespace kombu::command {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
    return program.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<const CLI::Option*> options_of(const CLI::App& command) {
    return command.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

std::vector<std::string> names_of(const CLI::Option& option) {
    std::vector<std::string> names;
    for (const std::string& name : option.get_snames()) names.push_back('-' + name);
    for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
    return names;
}

std::string words_of(const CLI::App& command) {
    std::string words;
    for (const CLI::Option* const option : options_of(command))
        for (const std::string& name : names_of(*option))
            if (name.starts_with("--")) words += (words.empty() ? "" : " ") + name;
    return words;
}

/// In single quotes, for the shells and for zsh's and fish's descriptions.
std::string shell_quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string{"'\\''"} : std::string(1, c);
    return out + "'";
}

std::string bash(const CLI::App& program) {
    std::string names;
    std::string cases;
    for (const CLI::App* const command : commands_of(program)) {
        names += (names.empty() ? "" : " ") + command->get_name();
        cases += "        " + command->get_name() + ") words=" + shell_quoted(words_of(*command)) + " ;;\n";
    }
    return "_kombu() {\n"
           "    local words=" +
           shell_quoted(names) +
           " word=${COMP_WORDS[COMP_CWORD]}\n"
           "    [ \"$COMP_CWORD\" -lt 2 ] || case ${COMP_WORDS[1]} in\n" +
           cases +
           "        *) words= ;;\n"
           "    esac\n"
           "    case ${COMP_WORDS[COMP_CWORD-1]} in\n"
           "        -f|--file|--json|--csv|--plot) words= ;;\n"
           "    esac\n"
           "    COMPREPLY=()\n"
           "    [ -n \"$words\" ] || { compopt -o default; return; }\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
           "}\n"
           "complete -F _kombu kombu\n";
}

std::string zsh(const CLI::App& program) {
    std::string names;
    std::string cases;
    for (const CLI::App* const command : commands_of(program)) {
        names += "        " + shell_quoted(command->get_name() + ':' + command->get_description()) + '\n';
        cases += "        " + command->get_name() + ")\n            options=(\n";
        for (const CLI::Option* const option : options_of(*command))
            for (const std::string& name : names_of(*option))
                if (name.starts_with("--"))
                    cases += "                " + shell_quoted(name + ':' + option->get_description()) + '\n';
        cases += "            ) ;;\n";
    }
    return "#compdef kombu\n"
           "_kombu() {\n"
           "    local -a commands options\n"
           "    commands=(\n" +
           names +
           "    )\n"
           "    if (( CURRENT == 2 )); then\n"
           "        _describe command commands\n"
           "        return\n"
           "    fi\n"
           "    case $words[2] in\n" +
           cases +
           "    esac\n"
           "    if [[ $PREFIX == -* ]]; then _describe option options; else _files; fi\n"
           "}\n"
           "_kombu \"$@\"\n";
}

std::string fish(const CLI::App& program) {
    std::string out;
    for (const CLI::App* const command : commands_of(program))
        out += "complete -c kombu -n __fish_use_subcommand -f -a " + command->get_name() + " -d " +
               shell_quoted(command->get_description()) + '\n';
    for (const CLI::App* const command : commands_of(program))
        for (const CLI::Option* const option : options_of(*command)) {
            out += "complete -c kombu -n '__fish_seen_subcommand_from " + command->get_name() + "'";
            for (const std::string& name : option->get_snames()) out += " -s " + name;
            for (const std::string& name : option->get_lnames()) out += " -l " + name;
            if (option->get_items_expected_max() > 0) out += " -r";
            out += " -d " + shell_quoted(option->get_description()) + '\n';
        }
    return out;
}

class CompletionCommand final : public Command {
public:
    explicit CompletionCommand(const CLI::App& program) : program_(program) {}

    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("completion", "Print the completion script of a shell");
        command->add_option("SHELL", shell_, "bash, zsh or fish")
            ->required()
            ->check(CLI::IsMember({"bash", "zsh", "fish"}));
        return command;
    }

    ExitCode run(StopSignal&) override {
        std::fputs((shell_ == "bash"  ? bash(program_)
                    : shell_ == "zsh" ? zsh(program_)
                                      : fish(program_))
                       .c_str(),
                   stdout);
        return ExitCode::success;
    }

private:
    const CLI::App& program_;
    std::string shell_{};
};

}  // namespace

std::unique_ptr<Command> make_completion(const CLI::App& program) {
    return std::make_unique<CompletionCommand>(program);
}

}  // namespace kombu::command
