// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include "net/session_base.hpp"
#include "redis/command.hpp"
#include "redis/options.hpp"
#include "redis/reply_reader.hpp"
#include "support/fifo.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kombu::redis {

class Session;

/// What Session::await_reply() returns. It is not a coroutine: almost every command waits for its reply.
/// The session must outlive the wait.
class [[nodiscard]] ReplyAwaiter {
public:
    void set_context(kombu::detail::OperationContext& context) noexcept { context_ = &context; }
    bool await_ready() const noexcept { return is_enough(&session_); }
    void await_suspend(std::coroutine_handle<> self) const noexcept;
    Reply await_resume() const;

private:
    friend Session;
    explicit ReplyAwaiter(Session& session) noexcept : session_(session) {}
    static bool is_enough(const void* session) noexcept;

    Session& session_;
    kombu::detail::OperationContext* context_ = nullptr;
    std::optional<Reply::Type> type_{};
    const char* command_ = "";
};

/// One socket to Redis as the protocol sees it, without I/O: parses received bytes, and collects bytes to send.
/// Operations (operations.hpp) send the commands.
class Session : public net::SessionBase {
public:
    Session(std::string peer, const Options& options) : SessionBase(std::move(peer)), options_(options) {}
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    virtual ~Session() = default;

    // -- for a driver
    std::pair<char*, std::size_t> input_space() { return reader_.space(); }
    void input_added(std::size_t count);
    Deadline next_heartbeat() const noexcept { return Deadline::never(); }
    void tick(Clock::time_point) noexcept {}
    std::string silence_reason() const { return {}; }
    /// Whether no reply is outstanding and no output is pending.
    bool is_idle() const noexcept { return expected_replies_.empty() && output_.empty(); }

    // -- for operations
    /// Call before each operation: discards the replies that an earlier, failed operation has not waited for.
    void begin_operation();
    const Options& options() const noexcept { return options_; }

    /// Appends a command to the output. await_reply() returns the replies in the order of their commands.
    void send(std::initializer_list<std::string_view> command) {
        append_command(output_, command);
        expect_reply();
    }
    void send(std::span<const std::string> command) {
        append_command(output_, command);
        expect_reply();
    }
    /// As send(), for a command in the format of append_command().
    void send_formatted(std::string_view command) {
        output_ += command;
        expect_reply();
    }
    /// For a command that its caller has appended to output().
    void expect_reply() { expected_replies_.push_back(Expected::awaited); }
    /// For the last command that was sent: its reply is discarded; an error is logged.
    void ignore_reply() noexcept { expected_replies_.back() = Expected::ignored; }

    /// Whether so many replies that operations wait for have arrived.
    bool has_replies(std::size_t count) const noexcept { return replies_.size() >= count; }
    /// The next one of them; there must be one.
    Reply pop_reply() noexcept { return replies_.pop_front(); }
    /// When an operation that now begins to wait for a reply gives up: after `socket_timeout`, if that is set; after
    /// twice that time with `retry_on_timeout`.
    Deadline reply_deadline() const {
        const auto timeout = options_.socket_timeout * (options_.retry_on_timeout ? 2 : 1);
        return timeout.count() != 0 ? Deadline::after(timeout) : Deadline::never();
    }
    /// Throws the error of a reply that has not come by then.
    [[noreturn]] void throw_no_reply() const;
    /// `co_await` for the next reply in an operation. Throws Timeout at reply_deadline().
    ReplyAwaiter await_reply() noexcept;
    /// The same for a reply of that type. Throws the exception for an error reply, ConnectionError for a reply of
    /// another type.
    ReplyAwaiter await_reply(Reply::Type type, const char* command) noexcept;
    /// The number of replies that have not arrived, including those to be discarded.
    std::size_t outstanding_replies() const noexcept { return expected_replies_.size(); }

    /// Whether the server has refused EVALSHA or EVAL to this user.
    bool evalsha_refused = false, eval_refused = false;

protected:
    virtual void on_reply(Reply&& reply);

private:
    enum class Expected : std::uint8_t { awaited, ignored };

    const Options& options_;
    ReplyReader reader_;
    Fifo<Expected> expected_replies_{};  // for each outstanding reply, whether an operation waits for it
    Fifo<Reply> replies_{};
};

}  // namespace kombu::redis
