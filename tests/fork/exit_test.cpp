// SPDX-License-Identifier: BSD-3-Clause
// Process exit: each test ends a child process.
#include "support/amqp_script.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

#include <kombu/kombu.hpp>

#include <mutex>
#include <optional>
#include <thread>
#include <vector>

using namespace kombu;
using namespace std::chrono_literals;

namespace {

/// A broker that records how its clients end: "close" for connection.close, "" for a closed socket.
class CloseRecorder {
public:
    explicit CloseRecorder(bool answers)
        : peer_{[this, answers](PeerSocket& peer) {
              script::log_in(peer);
              const std::string frame = peer.receive_frame();
              // Class and method numbers follow the frame header: connection.close is 10, 50.
              const bool sent_close = frame.size() > 11 && frame.substr(7, 4) == std::string("\0\x0a\0\x32", 4);
              {
                  std::lock_guard lock{mutex_};
                  seen_.push_back(sent_close ? "close" : "");
              }
              if (sent_close && answers)
                  peer.send(script::method(0, AMQP_CONNECTION_CLOSE_OK_METHOD, amqp_connection_close_ok_t{}));
              peer.wait_for_close();
          }} {}

    std::string url() const { return peer_.url(); }
    std::vector<std::string> seen() {
        std::lock_guard lock{mutex_};
        return seen_;
    }

private:
    std::mutex mutex_;
    std::vector<std::string> seen_;
    ScriptedPeer peer_;
};

/// Destroyed after every static object that is constructed later.
std::optional<Lease<Connection>> outlives_everything;

}  // namespace

TEST_CASE("a process that exits sends connection.close on its idle connections", "[exit]") {
    CloseRecorder broker{true};
    const auto start = Clock::now();
    CHECK(in_child(
              [&]() -> std::string {
                  pools::connections[Connection{broker.url()}].acquire()->connect();
                  return "";
              },
              true) == "");
    CHECK(Clock::now() - start < 5s);
    CHECK(eventually([&] { return broker.seen() == std::vector<std::string>{"close"}; }));
}

TEST_CASE("a broker that does not answer connection.close does not prevent exit", "[exit]") {
    CloseRecorder broker{false};
    Clock::time_point exiting;
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    CHECK(in_child(
              [&]() -> std::string {
                  pools::connections[Connection{broker.url()}].acquire()->connect();
                  exiting = Clock::now();
                  return ::write(pipe[1], &exiting, sizeof exiting) == sizeof exiting ? "" : "no pipe";
              },
              true) == "");
    const auto exited = Clock::now();
    REQUIRE(::read(pipe[0], &exiting, sizeof exiting) == sizeof exiting);
    ::close(pipe[0]);
    ::close(pipe[1]);
    CHECK(exited - exiting >= 500ms);
    CHECK(exited - exiting < 2s);
    CHECK(broker.seen() == std::vector<std::string>{"close"});
}

TEST_CASE("leases may outlive main, and threads may be inside acquire when a process exits", "[exit]") {
    CHECK(in_child(
              [&]() -> std::string {
                  const Connection broker{"memory://exit"};
                  pools::set_limit(2);
                  static auto held = pools::connections[broker].acquire();
                  outlives_everything = pools::connections[broker].acquire();
                  std::thread{[broker] {
                      try {
                          (void)pools::connections[broker].acquire({.block = true});
                      } catch (const Error&) {
                      }
                  }}.detach();
                  return eventually([&] { return pools::connections[broker].stats().waiting == 1; }) ? ""
                                                                                                     : "none waits";
              },
              true) == "");
}
