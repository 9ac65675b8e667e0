#include "net/descriptor.hpp"

#include <unistd.h>

#include <utility>

namespace kombu::net {

constexpr int nothing = -1;

struct Entry {
    std::atomic<int> fd{nothing};
    Entry* next = nullptr;
};

namespace {

/// Entries are never freed, only used again: the child's handler may not lock.
constinit std::atomic<Entry*> entries{nullptr};

void close_inherited() {
    for (Entry* entry = entries.load(std::memory_order_acquire); entry; entry = entry->next)
        if (const int fd = entry->fd.exchange(nothing, std::memory_order_relaxed); fd != nothing) ::close(fd);
}

Entry* entry_for(int fd) {
    for (Entry* entry = entries.load(std::memory_order_acquire); entry; entry = entry->next) {
        int known = nothing;
        if (entry->fd.compare_exchange_strong(known, fd, std::memory_order_relaxed)) return entry;
    }
    auto* const entry = new Entry;
    entry->fd.store(fd, std::memory_order_relaxed);
    entry->next = entries.load(std::memory_order_relaxed);
    while (!entries.compare_exchange_weak(entry->next, entry, std::memory_order_release, std::memory_order_relaxed)) {
    }
    return entry;
}

}  // namespace

void Descriptor::opened(int fd) {
    kombu::detail::add_child_handler(close_inherited);
    entry_ = entry_for(fd);
}

void Descriptor::closing() noexcept {
    if (entry_) std::exchange(entry_, nullptr)->fd.store(nothing, std::memory_order_relaxed);
}

}  // namespace kombu::net
