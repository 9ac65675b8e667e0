// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace kombu::command {

/// The help of a command, without what CLI11 adds to each argument: it fits a terminal of 80 columns and 24 lines.
class HelpFormatter final : public CLI::Formatter {
public:
    HelpFormatter() { column_width(27); }

    std::string make_option_opts(const CLI::Option* option) const override {
        if (!option->nonpositional() || option->get_items_expected_max() == 0) return {};
        const std::string type = option->get_type_name();
        const std::string name = type.substr(0, type.find(':'));  // the rest is what it is checked for
        return name == "INT" || name == "UINT" ? " N" : ' ' + name;
    }
};

}  // namespace kombu::command
