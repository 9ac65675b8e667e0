// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <malloc.h>

#include <cstddef>

/// The memory that malloc has given out. Less with sanitizers, which have an allocator of their own.
inline std::size_t allocated_bytes() {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
}
