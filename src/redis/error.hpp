#pragma once

#include "redis/resp.hpp"

#include <string>
#include <string_view>

namespace kombu::redis {

/// Throws what an error reply means; does nothing for any other. Refusals of this command alone are ChannelError; what
/// makes the connection useless is ConnectionError.
void throw_if_error(const Reply& reply, const std::string& peer);

/// The word that an error begins with.
std::string_view error_kind(const Reply& reply) noexcept;

/// An answer of another kind than the command has.
[[noreturn]] void unexpected(const std::string& peer, const char* command);

}  // namespace kombu::redis
