// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include "net/session_base.hpp"
#include "redis/bindings.hpp"
#include "redis/options.hpp"
#include "redis/resp.hpp"
#include "redis/scripts.hpp"
#include "redis/subscriptions.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kombu::redis {

/// A connection to Redis as the protocol sees it, without I/O: parses received bytes, and collects bytes to send. It
/// handles RESP 3 pushes whenever they arrive. Operations (operations.hpp) send the commands.
class Session : public net::SessionBase {
public:
    Session(std::string peer, const Options& options) : SessionBase(std::move(peer)), options_(options) {}

    // -- for a driver
    std::pair<char*, std::size_t> input_space() { return reader_.space(); }
    void input_added(std::size_t count);
    Deadline next_heartbeat() const noexcept { return Deadline::never(); }
    void tick(Clock::time_point) noexcept {}

    /// Whether no reply is outstanding and no output is pending.
    bool is_idle() const noexcept {
        return expected_replies_.empty() && pending_subscriptions_ == 0 && output_.empty();
    }

    // -- for operations
    /// Call before each operation: discards the replies that an earlier, failed operation has not waited for.
    void begin_operation();
    const Options& options() const noexcept { return options_; }

    /// Appends a command to the output. await_reply() returns the replies in the order of their commands.
    void send(std::initializer_list<std::string_view> command) {
        append_command(output_, command);
        expect_reply(true);
    }
    void send(std::span<const std::string> command);
    /// For a command that its caller has appended to output().
    void expect_reply(bool awaited) { expected_replies_.push_back(awaited); }
    /// Appends a command whose reply is discarded; an error is logged.
    void send_ignoring_reply(std::initializer_list<std::string_view> command) {
        append_command(output_, command);
        expect_reply(false);
    }
    void send_ignoring_reply(std::span<const std::string> command);
    /// Appends a call of a script, by its SHA-1 once the server has loaded it; always by its text if `ignore_reply`.
    void send_script(const Script& script, std::span<const std::string> keys, std::span<const std::string> arguments,
                     bool ignore_reply = false);
    /// Call after NOSCRIPT: the server does not have the scripts any more.
    void clear_loaded_scripts() noexcept { loaded_scripts_.clear(); }

    /// Returns the next reply if it has arrived.
    std::optional<Reply> pop_reply();
    /// Waits for the next reply. Throws Timeout after `socket_timeout`, if that is set; after twice that time with
    /// `retry_on_timeout`.
    async::Operation<Reply> await_reply();
    /// Waits for the next reply of that type. Throws the exception for an error reply, ConnectionError for a reply of
    /// another type.
    async::Operation<Reply> await_reply(Reply::Type type, const char* command);
    /// The number of replies that have not arrived, including those to be discarded.
    std::size_t outstanding_replies() const noexcept { return expected_replies_.size(); }

    /// Whether client-side caching is on: the server reports changes of keys that were read after CLIENT CACHING YES.
    std::string silence_reason() const { return {}; }
    bool is_tracking() const noexcept { return tracking_; }
    void set_tracking(bool on) noexcept { tracking_ = on; }
    BindingCache& bindings() noexcept { return bindings_; }
    const BindingCache& bindings() const noexcept { return bindings_; }
    Subscriptions& subscriptions() noexcept { return subscriptions_; }
    /// Replaces the watched keys, and clears watched_key_changed().
    void watch(const std::vector<std::string>& keys);
    /// Whether a watched key may have changed since watch().
    bool watched_key_changed() const noexcept { return watched_key_changed_; }
    /// Subscribes to the channels that match a pattern. Redis confirms it by a push, not by a reply.
    void subscribe(const std::string& pattern);
    void unsubscribe(const std::string& pattern);
    /// Whether a subscription is neither confirmed nor refused yet.
    bool has_pending_subscriptions() const noexcept { return pending_subscriptions_ != 0; }
    /// Returns the error of the last refused subscription, if there was one, and clears it.
    std::optional<Reply> pop_subscription_error() { return std::exchange(subscription_error_, std::nullopt); }

private:
    void on_reply(Reply reply);
    void on_push(Reply push);
    void on_invalidated(std::string_view key);

    const Options& options_;
    ReplyReader reader_;
    std::deque<bool> expected_replies_;  // for each outstanding reply, whether an operation waits for it
    std::deque<Reply> replies_;
    std::set<const Script*> loaded_scripts_;
    bool tracking_ = false;
    BindingCache bindings_;
    Subscriptions subscriptions_;
    std::set<std::string, std::less<>> watched_keys_;
    bool watched_key_changed_ = false;
    std::size_t pending_subscriptions_ = 0;
    std::optional<Reply> subscription_error_;
};

}  // namespace kombu::redis
