// SPDX-License-Identifier: BSD-3-Clause
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

struct LookupResult {
    int error = 0;
    std::vector<Address> addresses{};
};

LookupResult getaddrinfo_all(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    LookupResult result;
    result.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner{list, [](addrinfo* info) {
                                                                   if (info) ::freeaddrinfo(info);
                                                               }};
    for (const addrinfo* info = list; info; info = info->ai_next) {
        Address address;
        std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
        address.size = info->ai_addrlen;
        result.addresses.push_back(address);
    }
    return result;
}

/// A look-up that a thread performs for an operation. Shared by both, since either may end first.
class HostLookup {
public:
    explicit HostLookup(async::Waker& waker) : waker_(&waker) {}

    void complete(LookupResult result) {
        std::lock_guard lock{mutex_};
        result_ = std::move(result);
        if (waker_) waker_->wake();
    }
    std::optional<LookupResult> extract_result() {
        std::lock_guard lock{mutex_};
        return std::exchange(result_, std::nullopt);
    }
    void detach() {
        std::lock_guard lock{mutex_};
        waker_ = nullptr;
    }

private:
    std::mutex mutex_{};
    async::Waker* waker_;
    std::optional<LookupResult> result_{};
};

async::Operation<LookupResult> resolve_on_thread(std::string host, std::uint16_t port, Deadline deadline) {
    const std::uint32_t epoch = kombu::detail::fork_epoch();
    auto lookup = std::make_shared<HostLookup>(co_await async::this_waker);
    struct LookupGuard {
        HostLookup& lookup;
        std::uint32_t epoch;
        ~LookupGuard() {
            if (epoch == kombu::detail::fork_epoch()) lookup.detach();
        }
    } guard{*lookup, epoch};
    kombu::detail::pin_object_of(&__dso_handle);
    try {
        kombu::detail::start_thread("a name look-up",
                                    [lookup, host, port] { lookup->complete(getaddrinfo_all(host, port, 0)); });
    } catch (const OperationalError& error) {
        throw ConnectionError(host + ": " + error.what());
    }
    for (;;) {
        co_await async::Wait{.signal = true, .until = deadline};
        if (epoch != kombu::detail::fork_epoch()) throw ConnectionError(host + ": forked during the look-up");
        std::optional<LookupResult> result = lookup->extract_result();
        if (result) co_return std::move(*result);
        if (deadline.expired()) throw Timeout(host + ": the name was not resolved in time");
    }
}

}  // namespace

async::Operation<std::vector<Address>> resolve(std::string host, std::uint16_t port, Deadline deadline) {
    // localhost and numeric addresses need no name server, and so no thread.
    LookupResult result = getaddrinfo_all(host, port, host == "localhost" ? 0 : AI_NUMERICHOST);
    if (result.error != 0 && host != "localhost") result = co_await resolve_on_thread(host, port, deadline);
    if (result.error != 0) throw ConnectionError(host + ": " + ::gai_strerror(result.error));
    co_return std::move(result.addresses);
}

}  // namespace kombu::net
