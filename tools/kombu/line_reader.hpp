// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "stop_signal.hpp"

#include <string>

namespace kombu::command {

/// Reads a file or standard input line by line. A stop ends a wait for input.
class LineReader {
public:
    /// `path`: "-" is standard input.
    LineReader(const std::string& path, const StopSignal& stop);
    LineReader(const LineReader&) = delete;
    LineReader& operator=(const LineReader&) = delete;
    ~LineReader();

    /// The next line, without its line feed.
    /// \return false at the end, and after a stop
    bool next(std::string& line);
    /// All that is left.
    bool rest(std::string& text);
    /// Whether the next line is there without a wait.
    bool has_line() noexcept;

private:
    bool fill();

    const StopSignal& stop_;
    int descriptor_;
    std::string buffer_{};
    std::size_t position_ = 0;
    std::size_t searched_ = 0;  // there is no line feed from position_ to here
    bool at_end_ = false;
};

}  // namespace kombu::command
