#pragma once

#include <cstddef>
#include <string>

namespace kombu {

constexpr std::size_t uuid_size = 36;

/// Appends a random UUID (version 4), as Python's str(uuid4()) writes it. The system's random numbers are fetched for
/// many at once; a forked child never repeats its parent's.
void append_uuid(std::string& out);

inline std::string make_uuid() {
    std::string uuid;
    append_uuid(uuid);
    return uuid;
}

}  // namespace kombu
