// SPDX-License-Identifier: BSD-3-Clause
// A plugin that uses kombu::pool and shows nothing of it: all its symbols are hidden.
#include <kombu/pool/resource_pool.hpp>

#include <chrono>
#include <memory>

namespace {

kombu::ResourceFactory<int> factory() {
    kombu::ResourceFactory<int> factory;
    factory.create = [](const kombu::Acquisition&) { return std::make_shared<int>(1); };
    return factory;
}

/// Returns 0 when a pool works. The idle time-out starts the maintenance thread.
int use_a_pool() try {
    kombu::ResourcePool<int> pool{factory(), {.limit = 1, .idle_timeout = std::chrono::milliseconds{20}}};
    for (int i = 0; i < 100; ++i)
        if (*pool.acquire().operator->() != 1) return 1;
    return 0;
} catch (...) {
    return 2;
}

/// While the plugin is loaded, with the loader's lock held.
const int result_of_loading = use_a_pool();

}  // namespace

extern "C" __attribute__((visibility("default"))) int use_pool() {
    return result_of_loading != 0 ? result_of_loading : use_a_pool();
}
