#include "net/resolver.hpp"

#include <kombu/error.hpp>

#include <netdb.h>

#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace kombu::net {
namespace {

struct Answer {
    int error = 0;
    std::vector<Address> addresses{};
};

Answer ask(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    Answer answer;
    answer.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner{list, [](addrinfo* info) {
                                                                   if (info) ::freeaddrinfo(info);
                                                               }};
    for (const addrinfo* info = list; info; info = info->ai_next) {
        Address address;
        std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
        address.size = info->ai_addrlen;
        answer.addresses.push_back(address);
    }
    return answer;
}

/// Outlives whoever loses patience first.
struct Question {
    std::mutex mutex{};
    std::condition_variable answered{};
    bool done = false;
    Answer answer{};
};

}  // namespace

std::vector<Address> resolve(const std::string& host, std::uint16_t port, Deadline deadline) {
    // What every machine knows by itself is not worth a thread.
    Answer answer = ask(host, port, host == "localhost" ? 0 : AI_NUMERICHOST);
    if (answer.error != 0 && host != "localhost") {
        auto question = std::make_shared<Question>();
        try {
            std::thread{[question, host, port] {
                Answer found = ask(host, port, 0);
                std::lock_guard lock{question->mutex};
                question->answer = std::move(found);
                question->done = true;
                question->answered.notify_one();
            }}.detach();
        } catch (const std::system_error& error) {
            throw ConnectionError(host + ": no thread to look it up with: " + error.what());
        }
        std::unique_lock lock{question->mutex};
        const auto done = [&] { return question->done; };
        if (deadline.is_never())
            question->answered.wait(lock, done);
        else if (!question->answered.wait_until(lock, deadline.when(), done))
            throw Timeout(host + ": the name was not resolved in time");
        answer = std::move(question->answer);
    }
    if (answer.error != 0) throw ConnectionError(host + ": " + ::gai_strerror(answer.error));
    return std::move(answer.addresses);
}

}  // namespace kombu::net
