// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/transport.hpp"

#include <kombu/error.hpp>

#include "amqp/connection.hpp"

namespace kombu::amqp {
namespace {

void check_short_string(const std::string& text, const char* field) {
    if (text.size() > 255) throw ConfigurationError(std::string{field} + ": longer than 255 bytes");
}

class AmqpTransport final : public Transport {
public:
    void normalise(Endpoint& endpoint) const override {
        if (endpoint.hostname.empty()) endpoint.hostname = "localhost";
        if (endpoint.port == 0) endpoint.port = 5672;
        if (endpoint.userid.empty()) endpoint.userid = "guest";
        if (endpoint.password.empty()) endpoint.password = "guest";
        if (endpoint.virtual_host.empty()) endpoint.virtual_host = "/";
        check_short_string(endpoint.userid, "userid");
        check_short_string(endpoint.virtual_host, "virtual_host");
    }

    std::string default_login_method() const override { return "PLAIN"; }

    void check(const ConnectionParameters& parameters) const override {
        if (parameters.login_method != "PLAIN")
            throw ConfigurationError("login_method: only PLAIN is supported, not " +
                                     parameters.login_method.substr(0, 100));
    }

    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                   const ConnectionParameters& parameters,
                                                                   Deadline deadline) const override {
        return AmqpConnection::open(endpoint, parameters, deadline);
    }
};

}  // namespace

std::shared_ptr<const Transport> make_transport() { return std::make_shared<AmqpTransport>(); }

}  // namespace kombu::amqp
