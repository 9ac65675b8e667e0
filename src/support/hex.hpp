// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace kombu {

/// The lower-case hexadecimal digit of the lowest four bits.
constexpr char hex_digit(std::uint32_t value) noexcept { return "0123456789abcdef"[value & 0xf]; }

}  // namespace kombu
