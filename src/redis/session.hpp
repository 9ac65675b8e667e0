#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include "net/session_failure.hpp"
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

/// A connection to Redis without I/O: bytes in, bytes out, and what they mean. What comes unasked (RESP 3's pushes) is
/// dealt with here, whenever it comes. Operations (operations.hpp) say what to ask for.
class Session {
public:
    Session(std::string peer, const Options& options) : peer_(std::move(peer)), options_(options) {}

    // -- for a driver
    std::string& output() noexcept { return output_; }
    std::pair<char*, std::size_t> input_space() { return reader_.space(); }
    void input_added(std::size_t count);
    void fail(const ConnectionError& error) noexcept { failure_.set(error); }
    /// From any thread.
    bool failed() const noexcept { return failure_.is_set(); }
    /// Throws what the session failed with.
    void check() const { failure_.check(); }
    Deadline next_heartbeat() const noexcept { return Deadline::never(); }
    void beat(Clock::time_point) noexcept {}

    /// Whether there is nothing half-said between the two.
    bool is_quiet() const noexcept { return expected_.empty() && subscribing_ == 0 && output_.empty(); }

    // -- for operations
    /// Before each: what an earlier one has asked for and not waited for (it was refused something) is nobody's.
    void begin();
    const std::string& peer() const noexcept { return peer_; }
    const Options& options() const noexcept { return options_; }

    /// Puts out a command. Its reply is the one that reply() returns after those of the commands before it.
    void send(std::initializer_list<std::string_view> command) {
        append_command(output_, command);
        expect(true);
    }
    void send(std::span<const std::string> command);
    /// For a command that its caller puts out by itself.
    void expect(bool wanted) { expected_.push_back(wanted); }
    /// Puts out a command whose reply nobody waits for. What it refuses is logged.
    void send_and_forget(std::initializer_list<std::string_view> command) {
        append_command(output_, command);
        expect(false);
    }
    void send_and_forget(std::span<const std::string> command);
    /// Puts out a script's call, by its number once the server has learnt it.
    void send_script(const Script& script, std::span<const std::string> keys, std::span<const std::string> arguments,
                     bool forget = false);
    /// After an answer that the server knows no such script.
    void forget_scripts() noexcept { known_scripts_.clear(); }

    /// The next reply that came, if it has come.
    std::optional<Reply> take_reply();
    /// The next reply. Waits no longer than `socket_timeout`, when there is one.
    async::Operation<Reply> reply();
    /// The next reply, which is no error, nor anything but what is named.
    async::Operation<Reply> reply(Reply::Type type, const char* command);
    /// How many replies have yet to come, those that nobody waits for included.
    std::size_t outstanding() const noexcept { return expected_.size(); }

    /// Whether the server tells about changes of keys that were read after CLIENT CACHING YES.
    bool is_tracking() const noexcept { return tracking_; }
    void set_tracking(bool on) noexcept { tracking_ = on; }
    BindingCache& bindings() noexcept { return bindings_; }
    const BindingCache& bindings() const noexcept { return bindings_; }
    Subscriptions& subscriptions() noexcept { return subscriptions_; }
    /// From now on changes of these keys are noticed.
    void watch(const std::vector<std::string>& keys);
    /// Whether one of them may have been changed since.
    bool watched_key_changed() const noexcept { return watched_changed_; }
    /// Has the channels that match a pattern listened to. It is answered by a push.
    void subscribe(const std::string& pattern);
    void unsubscribe(const std::string& pattern);
    /// Whether some of that has not been answered yet.
    bool is_subscribing() const noexcept { return subscribing_ != 0; }
    /// Why the last of it was refused, when it was; asked once.
    std::optional<Reply> take_refusal() { return std::exchange(subscription_refusal_, std::nullopt); }

    /// Bytes of a log-in do not stay in memory.
    void wipe_output() noexcept;

private:
    void take(Reply reply);
    void take_push(Reply push);
    void invalidated(std::string_view key);

    std::string peer_;
    const Options& options_;
    ReplyReader reader_;
    std::string output_;
    net::SessionFailure failure_;
    std::deque<bool> expected_;  // for each reply to come, whether somebody waits for it
    std::deque<Reply> replies_;
    std::set<const Script*> known_scripts_;
    bool tracking_ = false;
    BindingCache bindings_;
    Subscriptions subscriptions_;
    std::set<std::string, std::less<>> watched_;
    bool watched_changed_ = false;
    std::size_t subscribing_ = 0;
    std::optional<Reply> subscription_refusal_;
};

}  // namespace kombu::redis
