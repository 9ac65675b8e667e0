// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace kombu {

/// The severity of a log message.
enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// Receives the log messages of the library. It is called from any thread, on several at once, and never with a lock
/// of the library held.
using Logger = std::function<void(LogLevel, std::string_view)>;

namespace detail {
struct LoggerNode {
    Logger log;
    const LoggerNode* previous;
};
KOMBU_EXPORT inline constinit std::atomic<const LoggerNode*> logger{nullptr};
}  // namespace detail

/// Sets the logger of the process. An empty one turns logging off, which is the default. Previous loggers stay in
/// memory, since other threads may be inside them: set it once, not per request.
/// \par Thread safety
/// May be called from any thread.
inline void set_logger(Logger logger) {
    auto* const node = new detail::LoggerNode{std::move(logger), detail::logger.load()};
    while (!detail::logger.compare_exchange_weak(node->previous, node)) {
    }
}

/// Whether a logger is set: for messages that are costly to build.
inline bool is_logging() noexcept {
    const auto* const node = detail::logger.load(std::memory_order_acquire);
    return node && node->log;
}

/// Logs a message. Exceptions of the logger are ignored.
inline void log(LogLevel level, std::string_view message) noexcept try {
    const auto* const node = detail::logger.load(std::memory_order_acquire);
    if (node && node->log) node->log(level, message);
} catch (...) {
}

}  // namespace kombu
