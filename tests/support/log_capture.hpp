// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/log.hpp>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

/// Captures what the library logs during its lifetime.
class LogCapture {
public:
    LogCapture() {
        kombu::set_logger([this](kombu::LogLevel level, std::string_view text) {
            const std::lock_guard lock{mutex_};
            lines_.push_back((level == kombu::LogLevel::warning ? "warning: " : "") + std::string{text});
        });
    }
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;
    ~LogCapture() { kombu::set_logger({}); }

    std::vector<std::string> lines() const {
        const std::lock_guard lock{mutex_};
        return lines_;
    }
    std::string text() const {
        std::string all;
        for (const std::string& line : lines()) all += line + '\n';
        return all;
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};
