// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/deadline.hpp>

#include <cstdint>
#include <memory>

namespace kombu {

class TransportChannel;
namespace async {
struct Operations;
}

namespace detail {

class ConnectionState;
class ConsumerState;
class MessageSettler;
/// The library's own access to the public classes (src/client/client_access.hpp).
struct ClientAccess;

/// The state of a connection as seen from one lease of it. Leases of a pooled connection follow each other; an object
/// made during an earlier one must not affect a later one.
class KOMBU_EXPORT ConnectionRef {
public:
    ConnectionRef() = default;
    explicit ConnectionRef(std::shared_ptr<ConnectionState> state);
    /// Refers to the present lease of the connection.
    void assign(const std::shared_ptr<ConnectionState>& state);
    bool refers_to(const ConnectionState* state) const noexcept { return state_.get() == state; }
    /// \throws LeaseError  when there is no connection, or it was given back to its pool
    ConnectionState& checked() const;
    /// Also after it was given back; null when there is none.
    ConnectionState* state() const noexcept { return state_.get(); }

private:
    std::shared_ptr<ConnectionState> state_{};
    std::uint64_t lease_generation_ = 0;
};

/// A transport's channel, and the lease of the connection that it belongs to.
class KOMBU_EXPORT ChannelHandle {
public:
    ChannelHandle(ConnectionRef connection, std::shared_ptr<TransportChannel> channel);
    /// \throws LeaseError  as ConnectionRef::checked does
    TransportChannel& checked() const;
    /// The deadline of an operation with this timeout, or without one.
    Deadline deadline(OptionalTimeout timeout) const;
    const ConnectionRef& connection() const noexcept { return connection_; }
    /// Also of a connection that was given back.
    const std::shared_ptr<TransportChannel>& channel() const noexcept { return channel_; }

private:
    ConnectionRef connection_;
    std::shared_ptr<TransportChannel> channel_;
};

}  // namespace detail
}  // namespace kombu
