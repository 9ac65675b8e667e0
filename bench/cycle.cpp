// SPDX-License-Identifier: BSD-3-Clause
// Runs N cycles of one kind, for counting instructions: cycle mutex|textbook|kombu N. See bench/instructions.
#include "textbook_pool.hpp"

#include <kombu/pool/resource_pool.hpp>

#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

int main(int argc, char** argv) {
    const std::string what = argc > 1 ? argv[1] : "kombu";
    const long cycles = argc > 2 ? std::atol(argv[2]) : 1000;
    std::thread{[] {}}.join();  // glibc omits locks and atomics until the process has had a second thread
    if (what == "mutex") {
        static std::mutex mutex;
        for (long i = 0; i < cycles; ++i) {
            mutex.lock();
            mutex.unlock();
        }
    } else if (what == "textbook") {
        TextbookPool pool{16};
        for (long i = 0; i < cycles; ++i) (void)pool.acquire();
    } else {
        kombu::ResourceFactory<Stub> factory;
        factory.create = [](kombu::Deadline) { return std::make_shared<Stub>(); };
        kombu::ResourcePool<Stub> pool{factory, {.limit = 16}};
        for (long i = 0; i < cycles; ++i) (void)pool.acquire({.block = true});
    }
}
