#pragma once

#include <kombu/entity.hpp>

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

/// What a session has declared. Redis itself knows of exchanges and queues only what is bound, and what is in them.
struct Declared {
    struct Bound {
        std::string exchange{};
        BoundQueue to{};
    };
    struct QueueRecord {
        Queue queue;
        std::vector<Bound> bindings{};
        /// Whether it has been bound: from then on Redis knows whether it is there.
        bool was_bound = false;
        /// Bindings to fanout exchanges: (exchange, key).
        std::vector<std::pair<std::string, std::string>> fanouts{};
        /// How long its lists live without use (x-expires); zero: for ever.
        std::chrono::milliseconds expires{0};
    };
    std::map<std::string, Exchange, std::less<>> exchanges{};
    std::map<std::string, QueueRecord, std::less<>> queues{};
    /// Grows with each change of the above.
    std::uint64_t changes = 0;

    void add(Exchange exchange) {
        ++changes;
        exchanges.insert_or_assign(exchange.name(), exchange);
    }
    void add(const std::string& name, QueueRecord record) {
        ++changes;
        queues.insert_or_assign(name, std::move(record));
    }
    void remove_exchange(const std::string& name) { changes += exchanges.erase(name); }
    void remove_queue(const std::string& name) { changes += queues.erase(name); }

    const Exchange* exchange(std::string_view name) const {
        const auto found = exchanges.find(name);
        return found == exchanges.end() ? nullptr : &found->second;
    }
    const QueueRecord* queue(std::string_view name) const {
        const auto found = queues.find(name);
        return found == queues.end() ? nullptr : &found->second;
    }
    /// To be changed.
    QueueRecord* change_queue(std::string_view name) {
        const auto found = queues.find(name);
        if (found == queues.end()) return nullptr;
        ++changes;
        return &found->second;
    }
};

/// When messages that were held for too long are looked for: by a consumer, every unacked_restore_interval, and of
/// those times the first and then each unacked_restore_throttle-th.
class RestoreTimer {
public:
    explicit RestoreTimer(const Options& options)
        : interval_(options.unacked_restore_interval), throttle_(options.unacked_restore_throttle) {}
    Deadline next() const noexcept { return next_; }
    /// Whether to look now.
    bool due() {
        if (!next_.expired()) return false;
        next_ = Deadline::after(interval_);
        return count_++ % throttle_ == 0;
    }

    /// There is more to give back than there was time for.
    void not_done() noexcept {
        next_ = Deadline::at({});
        count_ = 0;
    }

private:
    std::chrono::nanoseconds interval_;
    std::size_t throttle_;
    std::size_t count_ = 0;
    Deadline next_ = Deadline::at({});
};

/// A session and what its operations need to know beside it.
struct Link {
    Link(std::string peer, Options chosen, int db)
        : options(std::move(chosen)),
          database(db),
          keys(options, db),
          session(std::move(peer), options),
          restoring(options) {}

    const Options options;
    const int database;
    const Keys keys;
    Session session;
    Declared declared{};
    RestoreTimer restoring;
};

}  // namespace kombu::redis
