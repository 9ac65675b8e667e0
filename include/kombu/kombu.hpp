// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Everything to connect, acquire, publish and receive. On request: kombu/celery.hpp, kombu/asio.hpp, and
// kombu/transport.hpp for writers of transports.
#include <kombu/batch.hpp>
#include <kombu/channel.hpp>
#include <kombu/channel_pool.hpp>
#include <kombu/compression.hpp>
#include <kombu/connection.hpp>
#include <kombu/consumer.hpp>
#include <kombu/consumer_loop.hpp>
#include <kombu/entity.hpp>
#include <kombu/error.hpp>
#include <kombu/fork.hpp>
#include <kombu/json.hpp>
#include <kombu/log.hpp>
#include <kombu/message.hpp>
#include <kombu/pools.hpp>
#include <kombu/producer.hpp>
#include <kombu/retry.hpp>
#include <kombu/serialization.hpp>
#include <kombu/simple_queue.hpp>
#include <kombu/url.hpp>
#include <kombu/version.hpp>
