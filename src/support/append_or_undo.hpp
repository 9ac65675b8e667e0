// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string>

namespace kombu {

/// Calls `append`. What it has appended to `output` when it throws is removed: a part of a message would corrupt the
/// connection for the next one.
template <class Append>
void append_or_undo(std::string& output, Append append) {
    const std::size_t size_before = output.size();
    try {
        append();
    } catch (...) {
        output.resize(size_before);
        throw;
    }
}

}  // namespace kombu
