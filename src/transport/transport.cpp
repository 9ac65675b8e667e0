// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/transport.hpp>

#include <kombu/error.hpp>

#include "messages/forbidden_value.hpp"

namespace kombu {

void Transport::check_option(const std::string& name, Json& value) const {
    const Json defaults = option_defaults();
    const Json& default_value = defaults.at(name);
    const auto throw_wrong_type = [&](const char* what) {
        throw ConfigurationError("transport_options." + name + ": must be " + what);
    };
    if (default_value.is_boolean() && !value.is_boolean()) throw_wrong_type("true or false");
    if (default_value.is_number() && !value.is_number()) throw_wrong_type("a number");
    if (default_value.is_string() && !value.is_string()) throw_wrong_type("text");
    if (default_value.is_number()) value = value.get<double>();
}

void Transport::check_headers(const Json& headers) const { kombu::check_headers(headers, {}); }

std::exception_ptr TransportConnection::failure() const {
    return is_open() ? nullptr : std::make_exception_ptr(ConnectionError("the connection broke"));
}

async::Operation<std::optional<std::string>> TransportConnection::await_value(std::string, std::optional<std::string>,
                                                                              Deadline) {
    throw ConfigurationError("the broker stores no values");
    co_return std::nullopt;
}

async::Operation<> TransportConnection::erase_value(std::string, Deadline) {
    throw ConfigurationError("the broker stores no values");
    co_return;
}

async::Operation<BrokerInfo> TransportConnection::broker_info(Deadline) { co_return BrokerInfo{}; }

async::Operation<> TransportChannel::prepare_to_receive(const Queue&, Deadline) { co_return; }

async::Operation<std::vector<std::exception_ptr>> TransportChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    std::vector<std::exception_ptr> results(messages.size());
    std::exception_ptr fatal_error;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (fatal_error) {
            results[i] = fatal_error;
            continue;
        }
        try {
            co_await basic_publish(messages[i], deadline, confirm_timeout);
        } catch (const OperationalError& error) {
            results[i] = std::current_exception();
            if (error.poisons_connection() || !is_open()) fatal_error = results[i];
        }
    }
    co_return results;
}

}  // namespace kombu
