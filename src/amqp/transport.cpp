// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/transport.hpp"

#include <kombu/error.hpp>

#include "amqp/connection.hpp"
#include "messages/forbidden_value.hpp"
#include "support/validation.hpp"

namespace kombu::amqp {
namespace {

class AmqpTransport final : public Transport {
public:
    void normalise(Endpoint& endpoint) const override {
        if (endpoint.hostname.empty()) endpoint.hostname = "localhost";
        if (endpoint.port == 0) endpoint.port = 5672;
        if (endpoint.userid.empty()) endpoint.userid = "guest";
        if (endpoint.password.empty()) endpoint.password = "guest";
        if (endpoint.virtual_host.empty()) endpoint.virtual_host = "/";
        check_name(endpoint.userid, "userid");
        check_name(endpoint.virtual_host, "virtual_host");
    }

    std::string default_login_method() const override { return "PLAIN"; }

    void check(const ConnectionParameters& parameters) const override {
        if (parameters.login_method != "PLAIN")
            throw ConfigurationError("login_method: only PLAIN is supported, not " +
                                     parameters.login_method.substr(0, 100));
    }

    void check_headers(const Json& headers) const override { kombu::check_headers(headers, amqp_rules); }

    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                   const ConnectionParameters& parameters,
                                                                   Deadline deadline) const override {
        return AmqpConnection::open(endpoint, parameters, deadline);
    }
};

}  // namespace

std::shared_ptr<const Transport> make_transport() { return std::make_shared<AmqpTransport>(); }

}  // namespace kombu::amqp
