// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <string>
#include <string_view>

/// YAML by yaml-cpp, in the subset of PyYAML's safe_dump and safe_load that Json can hold.
namespace kombu::yaml {

/// Throws EncodeError with the path of a value that cannot be encoded, such as text that is not UTF-8.
std::string encode(const Json& body);

/// Throws DecodeError for data that is invalid, nested more than 256 levels deep, or expanded by aliases to more nodes
/// than it has bytes.
Json decode(std::string_view data);

}  // namespace kombu::yaml
