// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <memory>

namespace kombu::memory {

/// `memory://NAME`: brokers within this process.
std::shared_ptr<const Transport> make_transport();

}  // namespace kombu::memory
