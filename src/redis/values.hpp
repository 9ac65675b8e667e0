// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/operation.hpp>

#include <optional>
#include <string>

namespace kombu::redis {

class RedisConnection;

/// Waits until `until` for the value of a key to become another one than `known`. While it waits no command is
/// outstanding: the server reports the change to the second socket, or the key is looked at now and then.
async::Operation<std::optional<std::string>> await_value(RedisConnection& connection, std::string key,
                                                         std::optional<std::string> known, Deadline until);
async::Operation<> erase_value(RedisConnection& connection, std::string key, Deadline deadline);

}  // namespace kombu::redis
