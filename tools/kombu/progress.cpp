// SPDX-License-Identifier: BSD-3-Clause
#include "progress.hpp"

#include "terminal.hpp"

#include <cstdio>
#include <utility>

namespace kombu::command {

Progress::Progress(std::string verb, std::optional<std::uint64_t> total)
    : verb_(std::move(verb)), total_(total), is_terminal_(has_terminal()) {}

Progress::~Progress() {
    if (is_shown_) show_status_line("");
}

void Progress::update(std::uint64_t done) {
    if (!is_terminal_) return;
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds{200};
    is_shown_ = true;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = static_cast<double>(done) / seconds;
    char text[160];
    if (total_ && *total_ != 0)
        std::snprintf(text, sizeof text, "%s %llu of %llu (%.0f %%), %.0f/s, %.0f s left", verb_.c_str(),
                      static_cast<unsigned long long>(done), static_cast<unsigned long long>(*total_),
                      100 * static_cast<double>(done) / static_cast<double>(*total_), rate,
                      rate > 0 ? static_cast<double>(*total_ - done) / rate : 0.0);
    else
        std::snprintf(text, sizeof text, "%s %llu, %.0f/s", verb_.c_str(), static_cast<unsigned long long>(done), rate);
    show_status_line(text);
}

}  // namespace kombu::command
