// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace kombu::command {

/// A line on the terminal that says how far long work is. Prints nothing when standard error is not a terminal.
class Progress {
public:
    /// \param verb  such as "published"
    /// \param total  if it is known
    explicit Progress(std::string verb, std::optional<std::uint64_t> total = std::nullopt);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// Removes the line.
    ~Progress();

    /// At most five times a second.
    void update(std::uint64_t done);

private:
    using Clock = std::chrono::steady_clock;

    const std::string verb_;
    const std::optional<std::uint64_t> total_;
    const bool is_terminal_;
    const Clock::time_point start_ = Clock::now();
    Clock::time_point next_ = start_ + std::chrono::milliseconds{200};
    bool is_shown_ = false;
};

}  // namespace kombu::command
