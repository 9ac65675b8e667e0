// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include "net/session_lock.hpp"
#include "net/stream.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace kombu::net {

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the promise's operator new, a template, and its operator delete for a mismatched pair.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

/// Runs operations on a session: sends their output, feeds received bytes to the session, and waits for the stream.
///
/// A session provides:
/// * `output()`, `unsent()`, `on_sent(n)`: the bytes to send next.
/// * `input_space()`, `input_added(n)`: the buffer for received bytes, and their processing, which throws
///   ConnectionError for invalid data.
/// * `fail(error)`, `fail_by_user(error)`, `failed()`, `check()`: ends the session with an error, tells whether it has
///   failed, throws that error.
/// * `silence_reason()`: what the peer has said about why it does not answer, for the end of an error's text.
/// * `is_idle()`: whether neither side owes the other anything, also within a request.
/// * `next_heartbeat()`: when to call `tick(now)`, which appends a heartbeat to the output when one is due, and throws
///   when the peer has been silent for too long.
template <class Session>
class SessionDriver {
public:
    SessionDriver(Stream& stream, Session& session) : stream_(stream), session_(session) {}

    /// Exclusive use of the session for one request. If it is destroyed before end(), with bytes sent or queued and the
    /// session not idle, the session fails: the peer's reply must not reach the next user.
    class RequestScope {
    public:
        explicit RequestScope(SessionDriver& driver) noexcept : driver_(&driver) {
            driver.lock_.lock();
            sent_ = driver.bytes_sent_;
            pending_ = driver.session_.output().size();
        }
        RequestScope(RequestScope&& other) noexcept
            : driver_(std::exchange(other.driver_, nullptr)), sent_(other.sent_), pending_(other.pending_) {}
        RequestScope(const RequestScope&) = delete;
        RequestScope& operator=(const RequestScope&) = delete;
        RequestScope& operator=(RequestScope&&) = delete;
        ~RequestScope() {
            if (!driver_) return;
            const bool started = driver_->bytes_sent_ != sent_ || driver_->session_.output().size() != pending_;
            if (started && !driver_->session_.is_idle()) driver_->end_by_cancellation();
            driver_->lock_.unlock();
        }
        void end() noexcept {
            if (!driver_) return;
            driver_->last_used_ = kombu::detail::coarse_now();
            std::exchange(driver_, nullptr)->lock_.unlock();
        }

    private:
        SessionDriver* driver_;
        std::uint64_t sent_;
        std::size_t pending_;
    };

    struct IgnoreRefusal {
        void operator()(const ChannelError&) const noexcept {}
    };

    /// Runs an operation to its end. A communication error, a passed deadline included, fails the session: it is
    /// unknown then what the peer has processed.
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        return run(std::move(operation), deadline, RequestScope{*this});
    }
    /// The same within a request that has begun. `on_refusal` is called for a ChannelError, after the request. In place
    /// of an operation it may be any object with the members of one that are called here.
    template <class Work, class T = decltype(std::declval<Work&>().result()), class OnRefusal = IgnoreRefusal>
    async::Operation<T> run(Work operation, Deadline deadline, RequestScope request, OnRefusal on_refusal = {}) {
        try {
            bool input = true;
            while (!operation.resume({.read = input})) {
                const Deadline operation_deadline = operation.wait().until;
                Transfer transfer{*this, {.for_input = true}, std::min(operation_deadline, deadline)};
                while (const auto wait = transfer.next()) transfer.on_ready(co_await *wait);
                input = transfer.has_input();
                if (!input && operation_deadline > deadline)
                    throw Timeout(stream_.peer() + ": no answer in time" + session_.silence_reason());
            }
            // The output of the last step is sent even when it threw: it may be the reply to a close.
            if (!write()) {
                Transfer rest{*this, {}, deadline};
                while (const auto wait = rest.next()) rest.on_ready(co_await *wait);
            }
        } catch (const ConnectionError& error) {
            fail(error);
            request.end();
            throw;
        }
        if (session_.failed()) stream_.close();
        try {
            if constexpr (std::is_void_v<T>) {
                operation.result();
                request.end();
            } else {
                T result = operation.result();
                request.end();
                co_return result;
            }
        } catch (const ConnectionError& error) {
            if (error.poisons_connection()) fail(error);
            request.end();
            throw;
        } catch (const ChannelError& error) {
            request.end();
            on_refusal(error);
            throw;
        } catch (...) {
            request.end();
            throw;
        }
    }

    /// Waits, without a request, until bytes have arrived, or `until`; with `wakeable` also until the operation's waker
    /// is called. Sends the output, and serves heartbeats. Cancelling it changes nothing.
    async::Operation<> await_input(Deadline until, bool wakeable) {
        const SessionLock::Guard guard{lock_};
        try {
            if (!read()) {
                Transfer transfer{*this, {.for_input = true, .for_signal = wakeable, .is_request = false}, until};
                while (const auto wait = transfer.next()) transfer.on_ready(co_await *wait);
            }
        } catch (const ConnectionError& error) {
            fail(error);
            throw;
        }
        last_used_ = kombu::detail::coarse_now();
    }

    /// Sends the session's output, within a request.
    async::Operation<> flush(Deadline deadline) {
        try {
            Transfer transfer{*this, {}, deadline};
            while (const auto wait = transfer.next()) transfer.on_ready(co_await *wait);
        } catch (const ConnectionError& error) {
            fail(error);
            throw;
        }
    }

    /// Reads and processes what has arrived, without waiting.
    void poll() {
        fail_on_error([&] { read_available(); });
    }

    /// Sends as much output as is possible until then, without waiting. Returns false when some is left.
    bool try_send(Deadline until = Deadline::never()) {
        bool all = false;
        fail_on_error([&] { all = write(until); });
        return all;
    }

    /// try_send() with a body and what ends it after the output. What the peer takes at once is not copied there,
    /// except with TLS.
    bool try_send_with(std::string_view body, std::string_view end, Deadline until) {
        std::string& output = session_.output();
        output.reserve(output.size() + body.size() + end.size());  // nothing may fail once a part of these was sent
        if (stream_.uses_tls()) {
            output.append(body).append(end);
            return try_send(until);
        }
        bool all = false;
        fail_on_error([&] {
            const std::string_view head = session_.unsent();
            const std::size_t total = head.size() + body.size() + end.size();
            const std::size_t sent = write_pieces({{head, body, end}});
            all = sent == total;
            if (!all && sent < head.size() + body.size())
                output += body.substr(std::max(sent, head.size()) - head.size());
            if (!all) output += end;
            session_.on_sent(std::min(sent, head.size()));
            all = all || write(until);
        });
        return all;
    }

    /// Fails the session when the deadline has passed: the caller has sent a message in part.
    void fail_if_expired(Deadline deadline) {
        fail_on_error([&] {
            if (deadline.expired()) throw_not_read_in_time();
        });
    }

    /// Serves heartbeats while no operation uses the session; an operation serves them while it waits. Called by the
    /// heartbeat thread. Returns false when the session has failed.
    bool keep_alive(Clock::time_point now) noexcept {
        if (!lock_.try_lock_background()) return true;
        try {
            read_available();
            session_.tick(now);
            write();
        } catch (const ConnectionError& error) {
            session_.fail(error);
        } catch (const std::exception& error) {
            session_.fail(ConnectionError(error.what()));
        }
        const bool is_alive = !session_.failed();
        if (!is_alive) stream_.shutdown();  // only the user closes the stream
        lock_.unlock_background();
        return is_alive;
    }

    SessionLock& session_lock() noexcept { return lock_; }
    /// For the frame of run(), await_input() or flush().
    kombu::detail::FrameMemory& frame_memory() noexcept { return frame_memory_; }

    /// How long ago the last request ended, in ticks of the coarse clock: reading the exact one for each request costs
    /// more than encoding a message.
    Clock::duration idle_time() const noexcept { return Clock::duration{kombu::detail::coarse_now() - last_used_}; }

private:
    struct TransferOptions {
        bool for_input = false;
        /// The operation's waker ends the wait for input too.
        bool for_signal = false;
        /// Whether output that the peer does not take in time is an error.
        bool is_request = true;
    };

    static constexpr int max_reads = 1024;
    static constexpr std::size_t max_read = std::size_t{1} << 16;
    /// The most bytes of a write, and between two looks at the deadline.
    static constexpr std::size_t max_write = std::size_t{1} << 20;

    void fail(const ConnectionError& error) noexcept {
        session_.fail(error);
        stream_.close();
    }
    void end_by_cancellation() {
        session_.fail_by_user(ConnectionError(stream_.peer() + ": cancelled in the middle of a request"));
        stream_.close();
    }

    [[noreturn]] void throw_not_read_in_time() const {
        throw Timeout(stream_.peer() + ": the peer did not read the sent data in time" + session_.silence_reason());
    }

    template <class Step>
    void fail_on_error(Step step) {
        try {
            step();
        } catch (const ConnectionError& error) {
            fail(error);
            throw;
        }
    }

    void read_available() {
        for (int reads = 0; read(); ++reads)
            if (reads == max_reads) throw ConnectionError(stream_.peer() + ": the peer keeps sending unrequested data");
    }

    /// After a failed write: throws the reason of the peer when it has sent one that was not read.
    void read_close_reason() {
        try {
            read_available();
        } catch (const ConnectionError& error) {
            if (!error.is_retryable()) throw;  // the peer's reason; otherwise the caller's error is the first one
        }
        session_.check();
    }

    /// Writes what can be written until then, without waiting. Returns whether that was all.
    bool write(Deadline until = Deadline::never()) {
        for (std::size_t written = 0; !session_.unsent().empty();) {
            // A peer that reads fast takes more and more.
            if (written >= max_write && until.expired()) return false;
            std::optional<std::size_t> count;
            try {
                count = stream_.write_some(session_.unsent().substr(0, max_write));
            } catch (const ConnectionError&) {
                read_close_reason();
                throw;
            }
            if (!count) return false;
            session_.on_sent(*count);
            bytes_sent_ += *count;
            written += *count;
        }
        return true;
    }

    std::size_t write_pieces(const std::array<std::string_view, 3>& pieces) {
        try {
            const std::size_t count = stream_.write_some(std::span{pieces}).value_or(0);
            bytes_sent_ += count;
            return count;
        } catch (const ConnectionError&) {
            read_close_reason();
            throw;
        }
    }

    void on_bytes(std::size_t count) {
        if (count == 0) throw ConnectionError(stream_.peer() + ": the peer closed the connection");
        session_.input_added(count);
    }

    async::Wait until_readable(Deadline deadline) {
        const auto [data, size] = session_.input_space();
        return stream_.until_readable(deadline, data, size);
    }

    /// Reads what is there, but not for ever: with TLS a peer that keeps sending always leaves a part of a record
    /// behind.
    bool read() {
        has_more_ = false;
        for (std::size_t total = 0; total < max_read;) {
            const auto [data, size] = session_.input_space();
            const auto count = stream_.read_some(data, size);
            if (!count) return total != 0;
            on_bytes(*count);
            total += *count;
            if (!stream_.has_buffered()) return true;
        }
        has_more_ = true;
        return true;
    }

    /// Sends all output and, if `for_input` is set, waits for input. Serves heartbeats meanwhile. Not a coroutine, so
    /// that a request does not make a frame for it:
    ///
    ///     while (const auto wait = transfer.next()) transfer.on_ready(co_await *wait);
    class Transfer {
    public:
        Transfer(SessionDriver& driver, TransferOptions options, Deadline until)
            : driver_(driver), options_(options), until_(until) {}

        /// What to wait for now; nothing when the transfer has ended.
        std::optional<async::Wait> next() {
            while (!was_signalled_) {
                flushed_ = driver_.write(until_);
                if ((flushed_ || !options_.is_request) && (has_input_ || !options_.for_input)) return std::nullopt;
                // Checked first: a peer that keeps sending unrequested data must not postpone the deadline.
                if (until_.expired()) {
                    if (!flushed_ && options_.is_request) driver_.throw_not_read_in_time();
                    has_input_ = false;
                    return std::nullopt;
                }
                next_heartbeat_ = driver_.session_.next_heartbeat();
                const Deadline wake_at = std::min(until_, next_heartbeat_);
                if (!driver_.has_more_) {
                    async::Wait wait = flushed_ ? driver_.until_readable(wake_at)
                                                : driver_.stream_.until_readable_or_writable(wake_at);
                    wait.signal = options_.for_signal;
                    return wait;
                }
                process({.read = true});
            }
            return std::nullopt;
        }
        void on_ready(const async::Ready& ready) {
            was_signalled_ = ready.signal;
            if (!was_signalled_) process(ready);
        }
        /// Whether input has arrived.
        bool has_input() const noexcept { return has_input_; }

    private:
        void process(const async::Ready& ready) {
            if (ready.received) {
                driver_.on_bytes(*ready.received);
                has_input_ = true;
            }
            const bool heartbeat_due = !next_heartbeat_.is_never() && next_heartbeat_.expired();
            // Read once more before the peer's silence is judged: this process may have been suspended.
            const bool may_have_input = !ready.received && (ready.read || heartbeat_due || (flushed_ && ready.write));
            if (may_have_input && driver_.read()) {
                has_input_ = true;
                // A peer that closes the session, or waits for this side to read, does not read either.
                if (!flushed_) driver_.session_.check();
            }
            if (heartbeat_due) {
                // Its output is not part of the request.
                const std::size_t before = driver_.session_.output().size();
                driver_.session_.tick(Clock::now());
                driver_.bytes_sent_ -= driver_.session_.output().size() - before;
            }
        }

        SessionDriver& driver_;
        const TransferOptions options_;
        const Deadline until_;
        Deadline next_heartbeat_ = Deadline::never();
        bool flushed_ = false, has_input_ = false, was_signalled_ = false;
    };

    kombu::detail::FrameMemory frame_memory_{};
    Stream& stream_;
    Session& session_;
    SessionLock lock_;
    bool has_more_ = false;         // received by TLS, so that waiting for the descriptor would not report it
    std::uint64_t bytes_sent_ = 0;  // bytes written so far
    std::int64_t last_used_ = 0;    // of the coarse clock
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace kombu::net
