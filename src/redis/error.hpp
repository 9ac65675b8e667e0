// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redis/reply.hpp"

#include <string>
#include <string_view>

namespace kombu::redis {

/// Throws the exception for an error reply; does nothing for any other reply. The exception is a ChannelError if only
/// this command was refused, and a ConnectionError if the connection is unusable.
void throw_if_error(const Reply& reply, const std::string& peer);

/// The first word of an error reply, such as `OOM`; empty for any other reply.
std::string_view error_prefix(const Reply& reply) noexcept;

/// Whether the server does not have the command, or the user may not call it.
bool is_refused(const Reply& reply) noexcept;

/// Throws ConnectionError: the reply does not have the form that `command` requires.
[[noreturn]] void unexpected_reply(const std::string& peer, const char* command);

}  // namespace kombu::redis
