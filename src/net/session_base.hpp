// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include "net/session_failure.hpp"

#include <string.h>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace kombu::net {

/// Received bytes that violate the protocol. Parsers do not know the name of the peer; the session adds it.
class InvalidInput : public ConnectionError {
public:
    explicit InvalidInput(const std::string& what, int code = 0) : ConnectionError(what, code, false) {}
};

/// What the sessions of all protocols have: the peer's name, the bytes to send, and the error that ended the session.
class SessionBase {
public:
    const std::string& peer() const noexcept { return peer_; }
    /// The bytes to send next; they are appended. Its beginning may have been sent already.
    std::string& output() noexcept { return output_; }
    std::string_view unsent() const noexcept { return std::string_view{output_}.substr(sent_); }
    /// A large output is not moved for each part of it that was sent.
    void on_sent(std::size_t count) noexcept {
        sent_ += count;
        if (sent_ == output_.size()) {
            if (output_.capacity() > max_kept_capacity)
                std::string{}.swap(output_);
            else
                output_.clear();
            sent_ = 0;
        } else if (sent_ > output_.size() / 2) {
            output_.erase(0, sent_);
            sent_ = 0;
        }
    }
    /// Clears the output and overwrites its memory, so that no password stays there.
    void wipe_output() noexcept {
        output_.resize(output_.capacity());
        ::explicit_bzero(output_.data(), output_.size());
        output_.clear();
        sent_ = 0;
    }
    void fail(const ConnectionError& error) noexcept { failure_.set(error); }
    /// As fail(): its user has ended the session, and not the peer.
    void fail_by_user(const ConnectionError& error) noexcept {
        if (!failed()) ended_by_user_ = true;
        failure_.set(error);
    }
    /// Thread-safe.
    bool failed() const noexcept { return failure_.is_set(); }
    /// Throws the error that the session failed with, if it has failed.
    void check() const { failure_.check(); }
    /// That error; null also when the user has ended the session.
    std::exception_ptr failure() const noexcept { return ended_by_user_ ? nullptr : failure_.error(); }

protected:
    explicit SessionBase(std::string peer) : peer_(std::move(peer)) {}
    ~SessionBase() = default;

    /// Calls `parse`. Its InvalidInput becomes an error that names the peer.
    template <class Parse>
    void name_peer_in_errors(Parse parse) const {
        try {
            parse();
        } catch (const InvalidInput& error) {
            throw ConnectionError(peer_ + ": " + error.what(), error.code(), error.is_retryable());
        }
    }

    std::string output_;

private:
    /// The largest output buffer, in bytes, that is kept after sending; a larger one is freed.
    static constexpr std::size_t max_kept_capacity = std::size_t{1} << 20;

    std::size_t sent_ = 0;  // bytes of the output
    std::string peer_;
    SessionFailure failure_;
    bool ended_by_user_ = false;
};

}  // namespace kombu::net
