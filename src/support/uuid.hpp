// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string>

namespace kombu {

constexpr std::size_t uuid_size = 36;

/// Writes a random UUID (version 4): uuid_size characters in the format of Python's str(uuid4()). Random bytes are read
/// from the system for many UUIDs at once; a forked child never repeats its parent's.
void write_uuid(char* to);

inline std::string make_uuid() {
    std::string uuid(uuid_size, '\0');
    write_uuid(uuid.data());
    return uuid;
}

}  // namespace kombu
