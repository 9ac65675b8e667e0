// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/error.hpp>
#include <kombu/pools.hpp>
#include <kombu/stats.hpp>
#include <kombu/status.hpp>
#include <kombu/version.hpp>
#ifdef KOMBU_STATUS_WITH_METRICS
#include <kombu/metrics.hpp>
#endif

#include "address.hpp"
#include "connection_stream.hpp"
#include "not_inherited.hpp"
#include "page.hpp"
#include "worker_threads.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

namespace kombu::status {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t threads = 4;
constexpr auto time_of_a_request = 5s;
constexpr std::size_t size_of_a_request = 16384;
constexpr std::size_t shortest_token = 16;

/// Takes as long for every wrong token.
bool is_equal(const std::string& given, const std::string& token) {
    unsigned difference = given.size() == token.size() ? 0 : 1;
    for (std::size_t i = 0; i < given.size(); ++i)
        difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(token[i % token.size()]);
    return difference == 0;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// The broker of a pool that cannot be reached; empty when all can.
std::string unreachable_broker() {
    for (const PoolStats& pool : pools::stats())
        if (pool.is_down) return pool.key;
    return {};
}

}  // namespace

class StatusServer::Impl final : private httplib::Server {
public:
    Impl(std::string_view address, StatusOptions options)
        : address_(parse_address(address)), options_(std::move(options)), is_local_(is_loopback(address_.host)) {
        if (!is_local_ && !options_.allow_remote)
            throw ConfigurationError("status: " + address_.host +
                                     " can be reached by others, which allow_remote allows");
        if (!is_local_ && options_.token.empty())
            throw ConfigurationError("status: an address that others can reach needs a token");
        if (!options_.token.empty() && options_.token.size() < shortest_token)
            throw ConfigurationError("status: the token must have at least 16 characters");
        configure();
        // Without SO_REUSEPORT, which cpp-httplib sets: two services would share a port and not know it.
        set_socket_options([](socket_t socket) {
            const int on = 1;
            ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        });
        if (address_.port == 0)
            port_ = bind_to_any_port(address_.host);
        else
            port_ = bind_to_port(address_.host, address_.port) ? address_.port : -1;
        if (port_ <= 0)
            throw std::system_error(errno != 0 ? errno : EADDRINUSE, std::generic_category(),
                                    "status: cannot listen on " + std::string{address});
        ::fcntl(svr_sock_, F_SETFD, FD_CLOEXEC);
        not_inherited_.emplace(svr_sock_);
        workers_ = std::make_unique<WorkerThreads>(threads);
        new_task_queue = [this] { return workers_.release(); };  // called once
        listener_ = std::thread{[this] {
            listen_after_bind();
            has_ended_ = true;
        }};
        while (!is_running() && !has_ended_) std::this_thread::yield();  // stop() has no effect before
    }
    ~Impl() override {
        if (pid_ != ::getpid()) {  // a forked child does not have the thread
            // Neither joined nor detached: its handle may be that of another thread here.
            new std::thread{std::move(listener_)};
            return;
        }
        {
            const std::lock_guard lock{mutex_};
            is_stopping_ = true;
            for (const int client : clients_) ::shutdown(client, SHUT_RDWR);
        }
        not_inherited_.reset();  // before the descriptor is free for others
        stop();
        listener_.join();
    }

    int port() const noexcept { return port_; }
    std::string url() const {
        const bool is_ip6 = address_.host.find(':') != std::string::npos;
        return "http://" + (is_ip6 ? "[" + address_.host + "]" : address_.host) + ":" + std::to_string(port_) + "/";
    }

private:
    using Request = httplib::Request;
    using Response = httplib::Response;

    void configure() {
        set_payload_max_length(0);
        set_default_headers({{"Cache-Control", "no-store"},
                             {"X-Content-Type-Options", "nosniff"},
                             {"Referrer-Policy", "no-referrer"},  // the URL may have the token
                             {"Content-Security-Policy",
                              "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                              "connect-src 'self'; frame-ancestors 'none'"}});
        set_pre_routing_handler([this](const Request& request, Response& response) {
            response.status = refusal(request);
            if (response.status == 0) return response.status = -1, HandlerResponse::Unhandled;
            if (response.status == 401) response.set_header("WWW-Authenticate", "Bearer");
            response.set_content(std::to_string(response.status) + "\n", "text/plain");
            return HandlerResponse::Handled;
        });
        Get("/", [](const Request&, Response& response) { response.set_content(page, "text/html; charset=utf-8"); });
        Get("/pools.json", [this](const Request&, Response& response) {
            const auto now = std::chrono::system_clock::now().time_since_epoch();
            response.set_content(dump({{"title", options_.title},
                                       {"version", KOMBU_VERSION_STRING},
                                       {"process", ::getpid()},
                                       {"time", std::chrono::duration<double>(now).count()},
                                       {"pools", pools::stats()},
                                       {"brokers", broker_stats()}}),
                                 "application/json");
        });
        Get("/healthz", [this](const Request& request, Response& response) {
            const std::string down = unreachable_broker();
            if (!down.empty()) response.status = 503;
            const std::string name = has_token(request) ? " " + down : std::string{};
            response.set_content(down.empty() ? "ok\n" : "unreachable:" + name + "\n", "text/plain; charset=utf-8");
        });
#ifdef KOMBU_STATUS_WITH_METRICS
        Get("/metrics", [this](const Request&, Response& response) {
            response.set_content(collector_.text(), "text/plain; version=0.0.4; charset=utf-8");
        });
#endif
    }

    bool has_token(const Request& request) const {
        if (options_.token.empty()) return true;
        constexpr std::string_view scheme = "Bearer ";
        const std::string header = request.get_header_value("Authorization");
        if (header.starts_with(scheme)) return is_equal(header.substr(scheme.size()), options_.token);
        return is_equal(request.get_param_value("token"), options_.token);
    }

    /// The HTTP status with which a request is refused; 0: it is not.
    int refusal(const Request& request) const {
        if (request.method != "GET" && request.method != "HEAD") return 405;
        // cpp-httplib makes a copy for each range.
        if (request.has_header("Range")) return 416;
        // A web page of another origin may have its name resolved to this machine.
        if (is_local_ && !is_loopback(host_of(request.get_header_value("Host")))) return 403;
        if (request.path != "/healthz" && !has_token(request)) return 401;
        return 0;
    }

    bool process_and_close_socket(socket_t socket) override {
        std::optional<NotInherited> not_inherited{std::in_place, socket};
        bool is_stopping = false;
        {
            const std::lock_guard lock{mutex_};
            is_stopping = is_stopping_;
            if (!is_stopping) clients_.insert(socket);
        }
        bool is_served = false;
        if (!is_stopping) {
            ConnectionStream stream{socket, ConnectionStream::Clock::now() + time_of_a_request, size_of_a_request};
            bool is_closed = false;
            try {
                is_served = process_request(stream, true, is_closed, nullptr);
            } catch (const std::exception&) {  // no memory
            }
        }
        const std::lock_guard lock{mutex_};
        clients_.erase(socket);
        not_inherited.reset();
        ::shutdown(socket, SHUT_RDWR);
        ::close(socket);
        return is_served;
    }

    const Address address_;
    const StatusOptions options_;
    const bool is_local_;
    const pid_t pid_ = ::getpid();
    int port_ = 0;
#ifdef KOMBU_STATUS_WITH_METRICS
    const metrics::Collector collector_{};
#endif
    std::mutex mutex_{};
    std::set<int> clients_{};
    bool is_stopping_ = false;
    std::optional<NotInherited> not_inherited_{};
    std::unique_ptr<WorkerThreads> workers_{};
    std::atomic<bool> has_ended_{false};
    std::thread listener_{};
};

StatusServer::StatusServer(std::string_view address, StatusOptions options)
    : impl_(std::make_unique<Impl>(address, std::move(options))) {}
StatusServer::StatusServer(StatusServer&&) noexcept = default;
StatusServer& StatusServer::operator=(StatusServer&&) noexcept = default;
StatusServer::~StatusServer() = default;

std::uint16_t StatusServer::port() const noexcept { return static_cast<std::uint16_t>(impl_->port()); }
std::string StatusServer::url() const { return impl_->url(); }

}  // namespace kombu::status
