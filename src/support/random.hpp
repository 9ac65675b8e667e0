// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/process.hpp>

#include <cstdint>
#include <random>

namespace kombu {

/// The random numbers of this thread, which differ between a process and its forked children.
inline std::minstd_rand& thread_random() {
    struct Seeded {
        std::minstd_rand random{std::random_device{}()};
        std::uint32_t epoch = detail::fork_epoch();
    };
    thread_local Seeded seeded;
    if (seeded.epoch != detail::fork_epoch()) seeded = Seeded{};
    return seeded.random;
}

/// From 0 to 1.
inline double random_share() { return std::uniform_real_distribution<>{0, 1}(thread_random()); }

}  // namespace kombu
