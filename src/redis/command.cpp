// SPDX-License-Identifier: BSD-3-Clause
#include "redis/command.hpp"

#include <hiredis/hiredis.h>

#include <array>
#include <charconv>
#include <memory>
#include <new>
#include <vector>

namespace kombu::redis {
namespace {

template <class Text>
void format(std::string& out, std::span<const Text> arguments) {
    std::vector<const char*> data;
    std::vector<std::size_t> sizes;
    data.reserve(arguments.size());
    sizes.reserve(arguments.size());
    for (const Text& argument : arguments) {
        data.push_back(argument.data());
        sizes.push_back(argument.size());
    }
    char* text = nullptr;
    const auto size = ::redisFormatCommandArgv(&text, static_cast<int>(arguments.size()), data.data(), sizes.data());
    if (size < 0) throw std::bad_alloc{};
    const std::unique_ptr<char, decltype(&::redisFreeCommand)> owner{text, &::redisFreeCommand};
    out.append(text, static_cast<std::size_t>(size));
}

void append_length(std::string& out, char type, std::size_t value) {
    std::array<char, 24> text;
    text[0] = type;
    char* const end = std::to_chars(text.data() + 1, text.data() + text.size(), value).ptr;
    end[0] = '\r';
    end[1] = '\n';
    out.append(text.data(), static_cast<std::size_t>(end - text.data()) + 2);
}

}  // namespace

void append_command(std::string& out, std::span<const std::string_view> arguments) { format(out, arguments); }
void append_command(std::string& out, std::span<const std::string> arguments) { format(out, arguments); }

void append_command_header(std::string& out, std::size_t arguments) { append_length(out, '*', arguments); }
void append_argument_header(std::string& out, std::size_t size) { append_length(out, '$', size); }

void append_argument(std::string& out, std::string_view argument) {
    append_argument_header(out, argument.size());
    out.append(argument);
    out.append("\r\n");
}

}  // namespace kombu::redis
