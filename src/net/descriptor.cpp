#include "net/descriptor.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace kombu::net {

constexpr int nothing = -1;

struct Entry {
    std::atomic<int> fd{nothing};
    std::atomic<bool> registered{false};
    Entry* next = nullptr;
};

namespace {

/// Entries are never freed, only used again: the child's handler may not lock.
constinit std::atomic<Entry*> entries{nullptr};

/// Always ready, for whatever an event loop waits for.
constinit std::atomic<int> always_ready{nothing};

void prepare_always_ready() {
    if (always_ready.load(std::memory_order_relaxed) != nothing) return;
    const int fresh = ::eventfd(1, EFD_CLOEXEC);
    int none = nothing;
    if (fresh >= 0 && !always_ready.compare_exchange_strong(none, fresh)) ::close(fresh);
}

void close_inherited() {
    for (Entry* entry = entries.load(std::memory_order_acquire); entry; entry = entry->next) {
        const int fd = entry->fd.exchange(nothing, std::memory_order_relaxed);
        if (fd == nothing) continue;
        const int ready = always_ready.load(std::memory_order_relaxed);
        if (!entry->registered.load(std::memory_order_relaxed) || ::dup3(ready, fd, O_CLOEXEC) < 0) ::close(fd);
    }
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

void Descriptor::opened(async::WaitHandle& handle) {
    kombu::detail::add_child_handler(close_inherited);
    prepare_always_ready();
    entry_ = entry_for(handle.descriptor);
    entry_->registered.store(false, std::memory_order_relaxed);
    handle.registered = &entry_->registered;
}

void Descriptor::closing() noexcept {
    if (entry_) std::exchange(entry_, nullptr)->fd.store(nothing, std::memory_order_relaxed);
}

}  // namespace kombu::net
