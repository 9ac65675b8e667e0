// SPDX-License-Identifier: BSD-3-Clause
#include "memory/client.hpp"

#include <kombu/error.hpp>

#include <utility>

namespace kombu::memory {

void Client::check() const {
    if (is_inherited()) throw ConnectionError("the connection belongs to the process that forked this one");
    if (closed) throw ConnectionError("the connection is closed");
    if (interrupted) throw ConnectionError("the connection was interrupted");
}

void Consumer::push_event(std::optional<ReservedMessage> message) {
    if (message) ++unsettled;
    inbox->push_back({tag, std::move(message)});
    ++client->events;
    if (client->waker) client->waker->wake();
}

}  // namespace kombu::memory
