// SPDX-License-Identifier: BSD-3-Clause
#include "net/descriptor.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace kombu::net {

constexpr int no_descriptor = -1;

struct DescriptorEntry {
    std::atomic<int> fd{no_descriptor};
    std::atomic<bool> registered{false};
    DescriptorEntry* next = nullptr;
};

namespace {

/// Entries are reused and never freed, since the child's fork handler must not lock.
constinit std::atomic<DescriptorEntry*> entries{nullptr};

/// A descriptor that is always ready, for any event that an event loop waits for.
constinit std::atomic<int> always_ready{no_descriptor};

void prepare_always_ready() {
    if (always_ready.load(std::memory_order_relaxed) != no_descriptor) return;
    const int created = ::eventfd(1, EFD_CLOEXEC);
    int expected = no_descriptor;
    if (created >= 0 && !always_ready.compare_exchange_strong(expected, created)) ::close(created);
}

void close_inherited() {
    for (DescriptorEntry* entry = entries.load(std::memory_order_acquire); entry; entry = entry->next) {
        const int fd = entry->fd.exchange(no_descriptor, std::memory_order_relaxed);
        if (fd == no_descriptor) continue;
        const int ready = always_ready.load(std::memory_order_relaxed);
        if (!entry->registered.load(std::memory_order_relaxed) || ::dup3(ready, fd, O_CLOEXEC) < 0) ::close(fd);
    }
}

DescriptorEntry* acquire_entry(int fd) {
    for (DescriptorEntry* entry = entries.load(std::memory_order_acquire); entry; entry = entry->next) {
        int expected = no_descriptor;
        if (entry->fd.compare_exchange_strong(expected, fd, std::memory_order_relaxed)) return entry;
    }
    auto* const entry = new DescriptorEntry;
    entry->fd.store(fd, std::memory_order_relaxed);
    entry->next = entries.load(std::memory_order_relaxed);
    while (!entries.compare_exchange_weak(entry->next, entry, std::memory_order_release, std::memory_order_relaxed)) {
    }
    return entry;
}

}  // namespace

void Descriptor::after_open(async::WaitHandle& handle) {
    kombu::detail::add_child_handler(close_inherited);
    prepare_always_ready();
    entry_ = acquire_entry(handle.descriptor);
    entry_->registered.store(false, std::memory_order_relaxed);
    handle.registered = &entry_->registered;
}

void Descriptor::before_close() noexcept {
    if (entry_) std::exchange(entry_, nullptr)->fd.store(no_descriptor, std::memory_order_relaxed);
}

}  // namespace kombu::net
