#pragma once

#include <kombu/error.hpp>
#include <kombu/operation.hpp>

#include "net/session_lock.hpp"
#include "net/stream.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace kombu::net {

/// Runs operations that speak to a session's peer: writes what they have put out, feeds the session with what comes,
/// and waits for the stream on their behalf.
///
/// A session has: `output()`, the bytes to send next; `input_space()` and `input_added(n)`, where bytes received go and
/// how they are taken in, throwing ConnectionError for what no peer may send; `fail(error)`, after which it takes no
/// more part; `failed()`, and `check()`, which throws what it failed with; `is_quiet()`, whether the peer owes it no
/// answer and it owes the peer nothing, in the middle of an exchange too. Heartbeats: `next_heartbeat()` is when to
/// call `beat(now)`, which puts one out when it is due and throws when the peer has been silent for too long.
template <class Session>
class SessionDriver {
public:
    SessionDriver(Stream& stream, Session& session) : stream_(stream), session_(session) {}

    /// The session's use for one exchange with the peer. When it is dropped before it has ended, with anything said or
    /// about to be said, the session fails: what the peer answers must not reach whoever uses it next.
    class Exchange {
    public:
        explicit Exchange(SessionDriver& driver) noexcept : driver_(&driver) {
            driver.turn_.take();
            said_ = driver.said_;
            unsaid_ = driver.session_.output().size();
        }
        Exchange(Exchange&& other) noexcept
            : driver_(std::exchange(other.driver_, nullptr)), said_(other.said_), unsaid_(other.unsaid_) {}
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;
        Exchange& operator=(Exchange&&) = delete;
        ~Exchange() {
            if (!driver_) return;
            const bool touched = driver_->said_ != said_ || driver_->session_.output().size() != unsaid_;
            if (touched && !driver_->session_.is_quiet())
                driver_->fail(ConnectionError(driver_->stream_.peer() + ": cancelled in the middle of an exchange"));
            driver_->turn_.give();
        }
        void end() noexcept {
            if (!driver_) return;
            driver_->last_used_ = Clock::now();
            std::exchange(driver_, nullptr)->turn_.give();
        }

    private:
        SessionDriver* driver_;
        std::uint64_t said_;
        std::size_t unsaid_;
    };

    /// Runs an operation to its end. Whatever goes wrong on the way to the peer, a passed deadline included, fails the
    /// session: what the peer has understood is then unknown.
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline) {
        return run(std::move(operation), deadline, Exchange{*this});
    }
    template <class T>
    async::Operation<T> run(async::Operation<T> operation, Deadline deadline, Exchange exchange) {
        try {
            bool input = true;
            while (!operation.resume({.read = input})) {
                const Deadline wanted = operation.wait().until;
                input = co_await exchange_bytes(true, std::min(wanted, deadline));
                if (!input && wanted > deadline) throw Timeout(stream_.peer() + ": no answer in time");
            }
            // What the last step sent may matter even when it threw (the answer to a close).
            if (!write()) co_await exchange_bytes(false, deadline);
        } catch (const ConnectionError& error) {
            fail(error);
            exchange.end();
            throw;
        }
        if (session_.failed()) stream_.close();
        try {
            if constexpr (std::is_void_v<T>) {
                operation.result();
                exchange.end();
            } else {
                T result = operation.result();
                exchange.end();
                co_return result;
            }
        } catch (const ConnectionError& error) {
            if (error.poisons_connection()) fail(error);
            exchange.end();
            throw;
        } catch (...) {
            exchange.end();
            throw;
        }
    }

    /// Sends what the session has to send, within an exchange.
    async::Operation<> flush(Deadline deadline) {
        try {
            co_await exchange_bytes(false, deadline);
        } catch (const ConnectionError& error) {
            fail(error);
            throw;
        }
    }

    /// Takes in what has arrived, without waiting.
    void take_in() {
        on_the_wire([&] { absorb(); });
    }

    /// Sends what can be sent without waiting. False when something is left.
    bool try_send() {
        bool all = false;
        on_the_wire([&] { all = write(); });
        return all;
    }

    /// What keeps the session alive while nobody uses it; when somebody does, their waiting does that. From the
    /// keeper's thread. False when the session has failed.
    bool keep_alive(Clock::time_point now) noexcept {
        if (!turn_.try_keep()) return true;
        try {
            absorb();
            session_.beat(now);
            write();
        } catch (const ConnectionError& error) {
            session_.fail(error);
        } catch (const std::exception& error) {
            session_.fail(ConnectionError(error.what()));
        }
        const bool lives = !session_.failed();
        if (!lives) stream_.shut_down();  // closing is its user's
        turn_.end_keep();
        return lives;
    }

    Turn& turn() noexcept { return turn_; }

    /// How long ago the last exchange ended.
    Clock::duration idle_time() const noexcept { return Clock::now() - last_used_; }

private:
    static constexpr int max_reads = 1024;
    /// What an idle session may keep of the memory that a large message took.
    static constexpr std::size_t kept_capacity = std::size_t{1} << 20;

    void fail(const ConnectionError& error) noexcept {
        session_.fail(error);
        stream_.close();
    }

    template <class Step>
    void on_the_wire(Step step) {
        try {
            step();
        } catch (const ConnectionError& error) {
            fail(error);
            throw;
        }
    }

    void absorb() {
        for (int reads = 0; read(); ++reads)
            if (reads == max_reads)
                throw ConnectionError(stream_.peer() + ": the peer sends without end what nobody asked for");
    }

    /// Writes what can be written now. Whether that was all.
    bool write() {
        std::string& output = session_.output();
        if (output.empty()) return true;
        std::size_t sent = 0;
        while (sent < output.size()) {
            const auto count = stream_.write_some(std::string_view{output}.substr(sent));
            if (!count) break;
            sent += *count;
        }
        said_ += sent;
        if (sent != output.size()) {
            output.erase(0, sent);
            return false;
        }
        if (output.capacity() > kept_capacity)
            std::string{}.swap(output);
        else
            output.clear();
        return true;
    }

    void take(std::size_t count) {
        if (count == 0) throw ConnectionError(stream_.peer() + ": the peer closed the connection");
        session_.input_added(count);
    }

    async::Wait until_readable(Deadline deadline) {
        const auto [data, size] = session_.input_space();
        return stream_.until_readable(deadline, data, size);
    }

    bool read() {
        bool any = false;
        do {
            const auto [data, size] = session_.input_space();
            const auto count = stream_.read_some(data, size);
            if (!count) return any;
            take(*count);
            any = true;
        } while (stream_.has_buffered());
        return any;
    }

    /// Sends everything, and when `for_input` waits for something to come. False when nothing came until `until`. Keeps
    /// the session alive meanwhile.
    async::Operation<bool> exchange_bytes(bool for_input, Deadline until) {
        bool fed = false;
        for (;;) {
            const bool flushed = write();
            if (flushed && (fed || !for_input)) co_return true;
            // Asked first: a peer that keeps sending what nobody waits for must not put the deadline off.
            if (until.expired()) {
                if (!flushed) throw Timeout(stream_.peer() + ": the peer does not take what is sent");
                co_return false;
            }
            const Deadline beat = session_.next_heartbeat();
            const Deadline first = std::min(until, beat);
            const async::Ready ready =
                co_await (flushed ? until_readable(first) : stream_.until_readable_or_writable(first));
            if (ready.received) {
                take(*ready.received);
                fed = true;
            }
            const bool beats = !beat.is_never() && beat.expired();
            // Looked once more before the peer's silence is judged: this side may have been the one that slept.
            const bool comes = !ready.received && (ready.read || beats || (flushed && ready.write));
            if (comes && read()) {
                fed = true;
                // A peer that closes, or waits for us to read, does not read either.
                if (!flushed) session_.check();
            }
            if (beats) {
                // What it puts out is no part of the exchange.
                const std::size_t before = session_.output().size();
                session_.beat(Clock::now());
                said_ -= session_.output().size() - before;
            }
        }
    }

    Stream& stream_;
    Session& session_;
    Turn turn_;
    std::uint64_t said_ = 0;  // bytes written so far
    Clock::time_point last_used_{};
};

}  // namespace kombu::net
