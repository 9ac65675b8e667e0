// SPDX-License-Identifier: BSD-3-Clause
#include "terminal.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>

namespace kombu::command {

bool has_terminal() { return ::isatty(STDERR_FILENO) == 1; }

void show_status_line(const std::string& text) {
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    std::fflush(stderr);
}

std::string presentable(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t scheme = text.find("://", at);
        const std::size_t end =
            std::min(text.find_first_of(" \"'", scheme == std::string::npos ? at : scheme), text.size());
        const std::size_t user = scheme == std::string::npos ? scheme : text.rfind('@', end);
        if (user == std::string::npos || user < scheme) {
            const std::size_t next = scheme == std::string::npos ? text.size() : scheme + 3;
            out.append(text, at, next - at);
            at = next;
        } else {
            out.append(text, at, scheme + 3 - at).append("**");
            at = user;
        }
    }
    for (char& c : out)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
    return out;
}

void say(const std::string& sentence) {
    if (has_terminal()) show_status_line("");
    std::fprintf(stderr, "kombu: %s\n", presentable(sentence).c_str());
}

}  // namespace kombu::command
