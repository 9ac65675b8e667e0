// SPDX-License-Identifier: BSD-3-Clause
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <kombu/error.hpp>

#include "net/blocking_driver.hpp"
#include "net/resolver.hpp"

#include <dlfcn.h>
#include <netdb.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

std::atomic<bool> server_answers{true};
std::atomic<int> look_ups{0}, at_once{0}, most_at_once{0};

}  // namespace

/// Found before the C library's: a name server that does not answer, for names that end with .hangs.
extern "C" __attribute__((visibility("default"))) int getaddrinfo(
    const char* node, const char* service, const addrinfo* hints,
    addrinfo** result) noexcept(noexcept(::getaddrinfo(node, service, hints, result))) {
    static auto* const real = reinterpret_cast<int (*)(const char*, const char*, const addrinfo*, addrinfo**)>(
        ::dlsym(RTLD_NEXT, "getaddrinfo"));
    const bool hangs = std::string_view{node}.ends_with(".hangs") && (hints->ai_flags & AI_NUMERICHOST) == 0;
    if (!hangs) return real(node, service, hints, result);
    ++look_ups;
    const int now = ++at_once;
    for (int most = most_at_once; most < now && !most_at_once.compare_exchange_weak(most, now);) {
    }
    while (!server_answers) std::this_thread::sleep_for(1ms);
    --at_once;
    return real("127.0.0.1", service, hints, result);
}

TEST_CASE("a name server that hangs holds one thread for a name, and sixteen at most", "[net][resolver]") {
    server_answers = false;
    std::atomic<int> timed_out{0};
    const auto look_up_in_vain = [&](const std::string& host) {
        try {
            (void)net::run(net::resolve(host, 1, Deadline::after(2s)));
        } catch (const Timeout&) {
            ++timed_out;
        }
    };
    {
        std::vector<std::jthread> callers;
        for (int i = 0; i < 30; ++i) callers.emplace_back([&] { look_up_in_vain("one.hangs"); });
    }
    CHECK(look_ups == 1);
    {
        std::vector<std::jthread> callers;
        for (int i = 0; i < 30; ++i)
            callers.emplace_back([&look_up_in_vain, i] { look_up_in_vain(std::to_string(i) + ".hangs"); });
        CHECK(eventually([] { return at_once == 16; }));
    }
    CHECK(timed_out == 60);
    CHECK(most_at_once == 16);
    server_answers = true;
    CHECK(net::run(net::resolve("late.hangs", 1, Deadline::after(10s))).size() == 1);
    CHECK(net::run(net::resolve("one.hangs", 1, Deadline::after(10s))).size() == 1);
    CHECK(eventually([] { return at_once == 0; }));
    CHECK(look_ups <= 18);  // those that nobody waited for any more were not begun
}
