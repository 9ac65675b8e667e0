#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>

#include "net/operation.hpp"
#include "net/tcp_stream.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace kombu::net {

/// Drives operations on the caller's thread.
///
/// A session has: `output()`, the bytes to send next; `input_space()` and `input_added(n)`, where bytes received go and
/// how they are taken in, throwing ConnectionError for what no peer may send; `fail(error)`, after which it takes no
/// more part; `check()`, which throws what it failed with.
template <class Session>
class BlockingDriver {
public:
    BlockingDriver(TcpStream& stream, Session& session) : stream_(stream), session_(session) {}

    /// Runs an operation to its end. Whatever goes wrong on the way to the peer, a passed deadline included, fails the
    /// session: what the peer has understood is then unknown.
    template <class T>
    T run(Operation<T> operation, Deadline deadline) {
        bool input = true;
        while (!operation.resume(input)) {
            on_the_wire([&] {
                const Deadline until = std::min(operation.until(), deadline);
                flush(until);
                input = receive(until);
                if (!input && operation.until() > deadline) throw Timeout(stream_.peer() + ": no answer in time");
            });
        }
        // What the last step sent may matter even when it threw (the answer to a close).
        on_the_wire([&] { flush(deadline); });
        if (session_.failed()) stream_.close();
        try {
            return operation.result();
        } catch (const ConnectionError& error) {
            if (!error.poisons_connection()) throw;
            session_.fail(error);
            stream_.close();
            throw;
        }
    }

    /// Sends what the session has to send.
    void send(Deadline deadline) {
        on_the_wire([&] { flush(deadline); });
    }

    /// Takes in what has arrived, without waiting.
    void take_in() {
        on_the_wire([&] {
            for (int reads = 0; read(); ++reads)
                if (reads == max_reads)
                    throw ConnectionError(stream_.peer() + ": the peer sends without end what nobody asked for");
        });
    }

    /// Sends what can be sent without waiting. False when something is left.
    bool try_send() {
        on_the_wire([&] { write(); });
        return session_.output().empty();
    }

private:
    static constexpr int max_reads = 1024;
    /// What an idle session may keep of the memory that a large message took.
    static constexpr std::size_t kept_capacity = std::size_t{1} << 20;

    template <class Step>
    void on_the_wire(Step step) {
        try {
            step();
        } catch (const ConnectionError& error) {
            session_.fail(error);
            stream_.close();
            throw;
        }
    }

    void flush(Deadline deadline) {
        while (write(), !session_.output().empty()) {
            const auto ready = stream_.wait(true, deadline);
            if ((!ready.read && !ready.write) || deadline.expired())
                throw Timeout(stream_.peer() + ": the peer does not take what is sent");
            // A peer that closes, or waits for us to read, does not read either.
            if (ready.read && read()) session_.check();
        }
    }

    void write() {
        std::string& output = session_.output();
        std::size_t sent = 0;
        while (sent < output.size()) {
            const auto count = stream_.write_some(std::string_view{output}.substr(sent));
            if (!count) break;
            sent += *count;
        }
        if (sent != output.size()) {
            output.erase(0, sent);
        } else if (output.capacity() > kept_capacity) {
            std::string{}.swap(output);
        } else {
            output.clear();
        }
    }

    bool receive(Deadline until) {
        // Asked first: a peer that keeps sending what nobody waits for must not put the deadline off.
        while (!until.expired()) {
            if (read()) return true;
            if (!stream_.wait(false, until).read) break;
        }
        return false;
    }

    bool read() {
        const auto [data, size] = session_.input_space();
        const auto count = stream_.read_some(data, size);
        if (!count) return false;
        if (*count == 0) throw ConnectionError(stream_.peer() + ": the peer closed the connection");
        session_.input_added(*count);
        return true;
    }

    TcpStream& stream_;
    Session& session_;
};

}  // namespace kombu::net
