// SPDX-License-Identifier: BSD-3-Clause
// The names that the snippets of the documentation use without declaring them.
#pragma once

#include <kombu/asio.hpp>
#include <kombu/batch.hpp>
#include <kombu/celery.hpp>
#include <kombu/kombu.hpp>

#include <boost/asio/steady_timer.hpp>

#include <cassert>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;

namespace context {

using namespace std::chrono_literals;
namespace pools = kombu::pools;

inline const kombu::Connection broker{"memory://snippets"};
inline const kombu::Exchange news{"news"}, orders{"orders"};
inline const kombu::Json article = {{"title", "No cellular coverage on the tube"}}, order = {{"n", 1}};
inline const kombu::PublishOptions options{.routing_key = "snippets"};
inline pools::ConnectionPool pool{broker};
inline kombu::Lease<kombu::Producer> producer = pools::producers[broker].acquire();
inline kombu::Message message;

}  // namespace context
