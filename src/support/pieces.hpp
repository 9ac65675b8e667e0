// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>

/// Work on a large body takes a while. It is done in pieces, with a look at the deadline after each.
namespace kombu {

inline constexpr std::size_t piece_size = std::size_t{1} << 20;

/// \throws Timeout  when the deadline has passed; the connection is intact
inline void check_in_time(Deadline deadline) {
    if (deadline.expired()) throw Timeout("the message was not encoded in time", false);
}

/// Calls `work(piece)` for each piece. Pieces end between the characters of valid UTF-8.
template <class Work>
void for_each_piece(std::string_view data, Deadline deadline, Work work) {
    while (data.size() > piece_size) {
        std::size_t size = piece_size;
        for (int back = 0; back < 3 && (static_cast<unsigned char>(data[size]) & 0xc0) == 0x80; ++back) --size;
        work(data.substr(0, size));
        data.remove_prefix(size);
        check_in_time(deadline);
    }
    work(data);
}

inline void append_in_pieces(std::string& out, std::string_view data, Deadline deadline) {
    out.reserve(out.size() + data.size());
    for_each_piece(data, deadline, [&](std::string_view piece) { out += piece; });
}

}  // namespace kombu
