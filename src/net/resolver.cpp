// SPDX-License-Identifier: BSD-3-Clause
#include "net/resolver.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/detail/process.hpp>
#include <kombu/detail/thread.hpp>
#include <kombu/error.hpp>

#include <netdb.h>

#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <new>
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

/// A look-up that a thread performs, for all who wait for this name. They may end before it.
class HostLookup {
public:
    HostLookup(std::string host, std::uint16_t port) : host_(std::move(host)), port_(port) {}

    void run() noexcept {
        LookupResult result;
        try {
            result = getaddrinfo_all(host_, port_, 0);
        } catch (const std::bad_alloc&) {
            result.error = EAI_MEMORY;
        }
        const std::lock_guard lock{mutex_};
        result_ = std::move(result);
        for (async::Waker* const waiter : waiters_) waiter->wake();
    }
    std::optional<LookupResult> result() const {
        const std::lock_guard lock{mutex_};
        return result_;
    }
    void add(async::Waker& waiter) {
        const std::lock_guard lock{mutex_};
        waiters_.push_back(&waiter);
    }
    void remove(async::Waker& waiter) {
        const std::lock_guard lock{mutex_};
        waiters_.remove(&waiter);
    }
    bool is_abandoned() const {
        const std::lock_guard lock{mutex_};
        return waiters_.empty();
    }
    const std::string& host() const noexcept { return host_; }
    std::uint16_t port() const noexcept { return port_; }

private:
    const std::string host_;
    const std::uint16_t port_;
    mutable std::mutex mutex_{};
    std::list<async::Waker*> waiters_{};
    std::optional<LookupResult> result_{};
};

/// The look-ups in progress. A name server that does not answer holds a thread for each name, up to the limit; the
/// look-ups of other names then wait for one of these threads.
class Lookups {
public:
    /// The caller waits no longer. A look-up that nobody waits for is not begun any more.
    void leave(const std::shared_ptr<HostLookup>& lookup, async::Waker& waiter) {
        const std::lock_guard lock{mutex_};
        lookup->remove(waiter);
        if (lookup->is_abandoned() && waiting_.remove(lookup) != 0) current_.remove(lookup);
    }
    /// The look-up of this name, for which the caller waits from now on: nobody else can abandon it before.
    /// \throws OperationalError  when the system has no thread to give
    std::shared_ptr<HostLookup> join(const std::string& host, std::uint16_t port, async::Waker& waiter) {
        const std::lock_guard lock{mutex_};
        for (const auto& lookup : current_) {
            if (lookup->host() != host || lookup->port() != port) continue;
            lookup->add(waiter);
            return lookup;
        }
        auto lookup = std::make_shared<HostLookup>(host, port);
        lookup->add(waiter);
        std::list<std::shared_ptr<HostLookup>> current{lookup}, waiting{lookup};  // nothing is added without memory
        current_.splice(current_.end(), current);
        waiting_.splice(waiting_.end(), waiting);
        if (threads_ == max_threads) return lookup;
        try {
            kombu::detail::start_thread("a name look-up", [this] { work(); });
            ++threads_;
        } catch (...) {
            if (threads_ == 0) {
                current_.pop_back();
                waiting_.pop_back();
                throw;
            }
        }
        return lookup;
    }

private:
    static constexpr int max_threads = 16;

    void work() noexcept {
        std::unique_lock lock{mutex_};
        while (!waiting_.empty()) {
            const std::shared_ptr<HostLookup> lookup = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            lookup->run();
            lock.lock();
            current_.remove(lookup);
        }
        --threads_;
    }

    std::mutex mutex_{};
    std::list<std::shared_ptr<HostLookup>> current_{};
    std::list<std::shared_ptr<HostLookup>> waiting_{};  // for a thread
    int threads_ = 0;
};

/// Never destroyed: threads may still use it while the process exits. A forked child has none of the threads.
Lookups& lookups() {
    static constinit kombu::detail::NoDestructor<kombu::detail::ForkLocal<Lookups>> instance{};
    return instance.value.get();
}

async::Operation<LookupResult> resolve_on_thread(std::string host, std::uint16_t port, Deadline deadline) {
    kombu::detail::pin_object_of(&kombu::detail::this_object);
    async::Waker& waker = co_await async::this_waker;
    struct Registration {
        Registration(const std::string& host, std::uint16_t port, async::Waker& by) try
            : lookup(lookups().join(host, port, by)), waker(by) {
        } catch (const OperationalError& error) {
            throw ConnectionError(host + ": " + error.what());
        }
        Registration(const Registration&) = delete;
        Registration& operator=(const Registration&) = delete;
        ~Registration() {
            if (epoch == kombu::detail::fork_epoch()) lookups().leave(lookup, waker);
        }
        const std::shared_ptr<HostLookup> lookup;
        async::Waker& waker;
        const std::uint32_t epoch = kombu::detail::fork_epoch();
    };
    const Registration registration{host, port, waker};
    for (;;) {
        if (registration.epoch != kombu::detail::fork_epoch())
            throw ConnectionError(host + ": forked during the look-up");
        if (std::optional<LookupResult> result = registration.lookup->result()) co_return std::move(*result);
        if (deadline.expired()) throw Timeout(host + ": the name was not resolved in time");
        co_await async::Wait{.signal = true, .until = deadline};
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
