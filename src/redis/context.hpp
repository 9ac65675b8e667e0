// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/entity.hpp>

#include "redis/bindings.hpp"
#include "redis/keys.hpp"
#include "redis/options.hpp"
#include "redis/session.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu::redis {

/// The exchanges and queues declared in a session. Redis itself stores only bindings and messages.
struct DeclaredEntities {
    struct QueueBinding {
        std::string exchange{};
        BoundQueue to{};
    };
    struct QueueRecord {
        Queue queue;
        std::vector<QueueBinding> bindings{};
        /// Whether it has ever been bound. From then on its bindings in Redis tell whether the queue exists.
        bool ever_bound = false;
        /// Bindings to fanout exchanges: (exchange, routing key).
        std::vector<std::pair<std::string, std::string>> fanout_bindings{};
        /// Time to live of its lists, renewed by each publish (x-expires); zero means unlimited.
        std::chrono::milliseconds expires{0};
    };
    std::map<std::string, Exchange, std::less<>> exchanges{};
    std::map<std::string, QueueRecord, std::less<>> queues{};
    /// Incremented by each change of the above.
    std::uint64_t version = 0;

    void add(Exchange exchange) {
        ++version;
        exchanges.insert_or_assign(exchange.name(), exchange);
    }
    void add(const std::string& name, QueueRecord record) {
        ++version;
        queues.insert_or_assign(name, std::move(record));
    }
    void remove_exchange(const std::string& name) { version += exchanges.erase(name); }
    void remove_queue(const std::string& name) { version += queues.erase(name); }

    const Exchange* exchange(std::string_view name) const {
        const auto found = exchanges.find(name);
        return found == exchanges.end() ? nullptr : &found->second;
    }
    const QueueRecord* queue(std::string_view name) const {
        const auto found = queues.find(name);
        return found == queues.end() ? nullptr : &found->second;
    }
    /// For modification: increments `version`. Returns null for an unknown queue.
    QueueRecord* mutable_queue(std::string_view name) {
        const auto found = queues.find(name);
        if (found == queues.end()) return nullptr;
        ++version;
        return &found->second;
    }
};

/// Schedules a consumer's search for messages whose visibility timeout has expired: every unacked_restore_interval, and
/// of those occasions the first and then each unacked_restore_throttle-th.
class RestoreTimer {
public:
    explicit RestoreTimer(const Options& options)
        : interval_(options.unacked_restore_interval), throttle_(options.unacked_restore_throttle) {}
    Deadline next() const noexcept { return next_; }
    /// Returns whether to search now, and advances the schedule.
    bool check_due() {
        if (!next_.expired()) return false;
        next_ = Deadline::after(interval_);
        return count_++ % throttle_ == 0;
    }

    /// Makes the next check_due() return true: the time did not suffice to restore every expired message.
    void set_due_now() noexcept {
        next_ = Deadline::at({});
        count_ = 0;
    }

private:
    std::chrono::nanoseconds interval_;
    std::size_t throttle_;
    std::size_t count_ = 0;
    Deadline next_ = Deadline::at({});
};

/// A session with the state that its operations share.
struct SessionContext {
    SessionContext(std::string peer, Options chosen, int db)
        : options(std::move(chosen)),
          database(db),
          keys(options, db),
          session(std::move(peer), options),
          restore_timer(options) {
        append_command(caching_command, {"CLIENT", "CACHING", "YES"});
    }

    const Options options;
    const int database;
    const Keys keys;
    Session session;
    DeclaredEntities declared{};
    KnownBindings bindings{};
    RestoreTimer restore_timer;
    /// Makes the server report changes of the keys that the next command reads.
    std::string caching_command{};
    /// Changes with each operation that may add messages to a queue.
    std::uint64_t writes = 0;
    /// Whether the server has refused to this user what notices need, and TIME.
    bool notices_refused = false;
    bool time_refused = false;
};

}  // namespace kombu::redis
