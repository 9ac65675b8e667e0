// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/transport.hpp>

#include <memory>

namespace kombu::amqp {

/// `amqp://`: AMQP 0-9-1, spoken by RabbitMQ.
std::shared_ptr<const Transport> make_transport();

}  // namespace kombu::amqp
