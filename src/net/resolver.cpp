#include "net/resolver.hpp"

#include <kombu/detail/process.hpp>
#include <kombu/error.hpp>

#include <netdb.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

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

/// Asked by an operation, answered by a thread; it outlives whoever loses patience first.
class Question {
public:
    explicit Question(async::Waker& asker) : asker_(&asker) {}

    void answered(Answer answer) {
        std::lock_guard lock{mutex_};
        answer_ = std::move(answer);
        if (asker_) asker_->wake();
    }
    std::optional<Answer> take() {
        std::lock_guard lock{mutex_};
        return std::exchange(answer_, std::nullopt);
    }
    void forget_asker() {
        std::lock_guard lock{mutex_};
        asker_ = nullptr;
    }

private:
    std::mutex mutex_{};
    async::Waker* asker_;
    std::optional<Answer> answer_{};
};

async::Operation<Answer> ask_system(std::string host, std::uint16_t port, Deadline deadline) {
    const std::uint32_t epoch = kombu::detail::fork_epoch();
    auto question = std::make_shared<Question>(co_await async::this_waker);
    struct Asking {
        Question& question;
        std::uint32_t epoch;
        ~Asking() {
            if (epoch == kombu::detail::fork_epoch()) question.forget_asker();
        }
    } asking{*question, epoch};
    try {
        std::thread{[question, host, port] { question->answered(ask(host, port, 0)); }}.detach();
    } catch (const std::system_error& error) {
        throw ConnectionError(host + ": no thread to look it up with: " + error.what());
    }
    for (;;) {
        co_await async::Wait{.signal = true, .until = deadline};
        if (epoch != kombu::detail::fork_epoch()) throw ConnectionError(host + ": the process forked meanwhile");
        std::optional<Answer> answer = question->take();
        if (answer) co_return std::move(*answer);
        if (deadline.expired()) throw Timeout(host + ": the name was not resolved in time");
    }
}

}  // namespace

async::Operation<std::vector<Address>> resolve(std::string host, std::uint16_t port, Deadline deadline) {
    // What every machine knows by itself is not worth a thread.
    Answer answer = ask(host, port, host == "localhost" ? 0 : AI_NUMERICHOST);
    if (answer.error != 0 && host != "localhost") answer = co_await ask_system(host, port, deadline);
    if (answer.error != 0) throw ConnectionError(host + ": " + ::gai_strerror(answer.error));
    co_return std::move(answer.addresses);
}

}  // namespace kombu::net
