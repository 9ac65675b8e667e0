// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace kombu {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// Where the library's messages go. Called from any thread, several at once, never with a lock of the library held.
using Logger = std::function<void(LogLevel, std::string_view)>;

namespace detail {
struct LoggerNode {
    Logger log;
    const LoggerNode* earlier;
};
KOMBU_EXPORT inline constinit std::atomic<const LoggerNode*> logger{nullptr};
}  // namespace detail

/// Sets the logger of the process; an empty one silences it, as it is at first. What was set before stays in memory,
/// since other threads may be inside it: set it once, not per request.
inline void set_logger(Logger logger) {
    auto* const node = new detail::LoggerNode{std::move(logger), detail::logger.load()};
    while (!detail::logger.compare_exchange_weak(node->earlier, node)) {
    }
}

/// True when somebody listens: for messages that cost something to put together.
inline bool is_logging() noexcept {
    const auto* const node = detail::logger.load(std::memory_order_acquire);
    return node && node->log;
}

/// Logs a message. What the logger throws goes nowhere.
inline void log(LogLevel level, std::string_view message) noexcept try {
    const auto* const node = detail::logger.load(std::memory_order_acquire);
    if (node && node->log) node->log(level, message);
} catch (...) {
}

}  // namespace kombu
