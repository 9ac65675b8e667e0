// SPDX-License-Identifier: BSD-3-Clause
#include "not_inherited.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace kombu::status {
namespace {

constexpr std::size_t limit = 64;
/// Each is a socket plus one, so that zero is none.
std::atomic<int> sockets[limit];

void close_in_child() noexcept {
    for (std::atomic<int>& socket : sockets)
        if (const int value = socket.exchange(0)) ::close(value - 1);
}

}  // namespace

NotInherited::NotInherited(int socket) noexcept : index_(limit) {
    static const int installed = ::pthread_atfork(nullptr, nullptr, &close_in_child);
    (void)installed;
    for (std::size_t i = 0; i < limit; ++i) {
        int free = 0;
        if (!sockets[i].compare_exchange_strong(free, socket + 1)) continue;
        index_ = i;
        return;
    }
}

NotInherited::~NotInherited() {
    if (index_ < limit) sockets[index_].store(0);
}

}  // namespace kombu::status
