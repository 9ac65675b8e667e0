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
    explicit AmqpTransport(Encryption encryption) : encryption_(encryption) {}

    void normalise(Endpoint& endpoint) const override {
        if (endpoint.hostname.empty()) endpoint.hostname = "localhost";
        if (endpoint.port == 0) endpoint.port = encryption_ == Encryption::tls ? 5671 : 5672;
        if (endpoint.userid.empty()) endpoint.userid = "guest";
        if (endpoint.password.empty()) endpoint.password = "guest";
        if (endpoint.virtual_host.empty()) endpoint.virtual_host = "/";
        check_name(endpoint.userid, "userid");
        check_name(endpoint.virtual_host, "virtual_host");
    }

    std::string default_login_method() const override { return "PLAIN"; }

    bool supports_ssl() const override { return true; }

    void check(const ConnectionParameters& parameters) const override {
        const std::string& method = parameters.login_method;
        if (!is_one_of(method, {"PLAIN", "AMQPLAIN", "EXTERNAL"}))
            throw ConfigurationError("login_method: PLAIN, AMQPLAIN or EXTERNAL, not " + method.substr(0, 100));
        if (method == "EXTERNAL" && (!parameters.ssl || parameters.ssl->certfile.empty()))
            throw ConfigurationError("login_method: EXTERNAL requires TLS with a client certificate (ssl_certfile)");
    }

    void check_headers(const Json& headers) const override { kombu::check_headers(headers, amqp_rules); }

    async::Operation<std::shared_ptr<TransportConnection>> connect(const Endpoint& endpoint,
                                                                   const ConnectionParameters& parameters,
                                                                   Deadline deadline) const override {
        return AmqpConnection::open(endpoint, parameters, deadline);
    }

private:
    Encryption encryption_;
};

}  // namespace

std::shared_ptr<const Transport> make_transport(Encryption encryption) {
    return std::make_shared<AmqpTransport>(encryption);
}

}  // namespace kombu::amqp
