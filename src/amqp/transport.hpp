// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <cstdint>
#include <memory>

namespace kombu::amqp {

enum class Encryption : std::uint8_t { none, tls };

/// `amqp://` and `amqps://`: AMQP 0-9-1, spoken by RabbitMQ.
std::shared_ptr<const Transport> make_transport(Encryption encryption);

}  // namespace kombu::amqp
