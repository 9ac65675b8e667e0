// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/async.hpp>
#include <kombu/detail/connection_ref.hpp>
#include <kombu/operation.hpp>

#include <cstdint>

namespace kombu::detail {

/// Settles the messages of a consumer.
class MessageSettler {
public:
    virtual ~MessageSettler() = default;
    /// Settles a delivery of this channel if that needs no waiting. Otherwise does nothing, and returns false.
    virtual bool try_settle(const ChannelHandle& channel, std::uint64_t delivery_tag, async::Settlement settlement) = 0;
    /// Settles a delivery of this channel. The arguments must exist until the operation has ended.
    virtual async::Operation<> settle(const ChannelHandle& channel, std::uint64_t delivery_tag,
                                      async::Settlement settlement) = 0;
    /// A message was destroyed without a settlement.
    virtual void on_dropped(const ChannelHandle& channel, std::uint64_t delivery_tag) noexcept {
        (void)channel;
        (void)delivery_tag;
    }
};

}  // namespace kombu::detail
