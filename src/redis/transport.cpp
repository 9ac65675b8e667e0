// SPDX-License-Identifier: BSD-3-Clause
#include "redis/transport.hpp"

#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"
#include "redis/connection.hpp"
#include "redis/options.hpp"
#include "redis/sentinel.hpp"

#include <charconv>
#include <string>

namespace kombu::redis {

int database_of(const Endpoint& endpoint) {
    std::string_view name = endpoint.virtual_host;
    while (name.starts_with('/')) name.remove_prefix(1);
    if (name.empty()) return 0;
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size() || number < 0)
        throw ConfigurationError("virtual_host: must be a database number, not " + std::string{name.substr(0, 100)});
    return number;
}

namespace {

class RedisTransport final : public Transport {
public:
    explicit RedisTransport(Kind kind) : kind_(kind) {}

    void normalise(Endpoint& endpoint) const override {
        endpoint.virtual_host = std::to_string(database_of(endpoint));
        if (kind_ == Kind::unix_socket) {
            endpoint.port = 0;
            if (endpoint.hostname.size() < 2) throw ConfigurationError("redis+socket: the URL must have a path");
            return;
        }
        if (endpoint.hostname.empty()) endpoint.hostname = "localhost";
        if (endpoint.port == 0) endpoint.port = kind_ == Kind::sentinel ? 26379 : 6379;
    }

    Json option_defaults() const override { return redis::option_defaults(kind_ == Kind::sentinel); }
    void check_option(const std::string& name, Json& value) const override { redis::check_option(name, value); }
    bool supports_ssl() const override { return kind_ != Kind::unix_socket; }

    void check(const ConnectionParameters& parameters) const override {
        (void)parse_options(parameters.transport_options);
        if (!parameters.login_method.empty()) throw ConfigurationError("login_method: cannot be chosen on Redis");
    }

    void check_headers(const Json& headers) const override { kombu::check_headers(headers, json_rules); }

    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                   const ConnectionParameters& parameters,
                                                                   Deadline deadline) const override {
        if (kind_ == Kind::sentinel) return connect_to_master(endpoint, parameters, deadline);
        return RedisConnection::open(endpoint, parameters, deadline, false);
    }

private:
    Kind kind_;
};

}  // namespace

std::shared_ptr<const Transport> make_transport(Kind kind) { return std::make_shared<RedisTransport>(kind); }

}  // namespace kombu::redis
