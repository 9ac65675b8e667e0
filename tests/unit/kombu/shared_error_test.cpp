// SPDX-License-Identifier: BSD-3-Clause
// Errors that several threads meet. ThreadSanitizer judges: it does not see that the C++ runtime counts references to
// an exception, nor an order of the threads after set_unseen().
#include "client/broker_status.hpp"
#include "net/session_failure.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

using namespace kombu;
using namespace std::chrono_literals;
using kombu::detail::BrokerStatus;

namespace {

class Flag {
public:
    void set() noexcept { set_.store(true, std::memory_order_release); }
    void set_unseen() noexcept { set_.store(true, std::memory_order_relaxed); }
    void wait() const noexcept {
        while (!set_.load(std::memory_order_acquire)) std::this_thread::yield();
    }

private:
    std::atomic<bool> set_{false};
};

struct NoWaker final : async::Waker {
    void wake() noexcept override {}
};

}  // namespace

TEST_CASE("threads that wait for another one's attempt to connect get errors of their own", "[pacing]") {
    BrokerStatus status{"pool", nullptr};
    const std::atomic<bool> interrupted{false};
    const BrokerStatus::Caller caller{Deadline::after(60s), 1s, interrupted};
    auto first = status.begin_attempt(caller);
    REQUIRE(first.resume());
    Flag waits, failed, read;
    std::string text;
    int code = 0;
    std::thread waiter{[&] {
        NoWaker waker;
        auto second = status.begin_attempt(caller);
        second.handle().set_waker(waker);
        second.resume();
        waits.set();
        failed.wait();
        second.resume();
        try {
            second.result();
        } catch (const ConnectionError& error) {
            text = error.what();
            code = error.code();
        }
        read.set_unseen();
    }};
    waits.wait();
    try {
        throw ConnectionError("refused by the peer at the door", 530);
    } catch (const ConnectionError& error) {
        first.result().failed(error);
        failed.set();
        read.wait();
    }
    waiter.join();
    CHECK(text == "refused by the peer at the door");
    CHECK(code == 530);
}

TEST_CASE("threads that use a broken session get errors of their own", "[session]") {
    const bool by_deadline = GENERATE(false, true);
    auto failure = std::make_unique<net::SessionFailure>();
    if (by_deadline)
        failure->set(Timeout("the peer was silent for too long"));
    else
        failure->set(ConnectionError("the peer closed the connection", 320, false));
    Flag thrown, ended;
    bool is_same = false;
    std::thread user{[&] {
        try {
            failure->check();
        } catch (const ConnectionError& error) {
            is_same = (dynamic_cast<const Timeout*>(&error) != nullptr) == by_deadline &&
                      error.code() == (by_deadline ? 0 : 320) && error.is_retryable() == by_deadline;
            thrown.set();
            ended.wait();
        }
    }};
    thrown.wait();
    std::string text;
    try {
        std::rethrow_exception(failure->error());
    } catch (const ConnectionError& error) {
        text = error.what();
    }
    failure.reset();
    ended.set_unseen();
    user.join();
    CHECK(is_same);
    CHECK(text == (by_deadline ? "the peer was silent for too long" : "the peer closed the connection"));
}
