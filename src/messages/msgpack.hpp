// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <string>
#include <string_view>

namespace kombu::msgpack {

/// Throws EncodeError with the path of a value that cannot be encoded, such as text that is not UTF-8.
std::string encode(const Json& body);

/// Throws DecodeError for data that is invalid, nested more than 256 levels deep, or followed by other data.
Json decode(std::string_view data);

}  // namespace kombu::msgpack
