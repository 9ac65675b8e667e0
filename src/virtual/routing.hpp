// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include "messages/same_value.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kombu::routing {

/// AMQP's topic match, word by word: `*` is one word, `#` any number of words, none included.
bool topic_matches(std::string_view pattern, std::string_view key);

/// AMQP's headers match. `x-match` is `all` (the default), `any`, `all-with-x` or `any-with-x`; without `-with-x`,
/// arguments that begin with `x-` are ignored. A null argument matches any value of the header.
bool headers_match(const Json& arguments, const Json& headers);

/// Whether `type` is direct, topic, fanout or headers.
bool is_exchange_type(std::string_view type);

struct Binding {
    /// A queue; of an exchange-to-exchange binding an exchange.
    std::string destination{};
    std::string routing_key{};
    Json arguments = Json::object();
    friend bool operator==(const Binding& a, const Binding& b) {
        return a.destination == b.destination && a.routing_key == b.routing_key && same_value(a.arguments, b.arguments);
    }
};

/// The bindings of one exchange to queues, or to exchanges.
class Bindings {
public:
    explicit Bindings(std::string type) : type_(std::move(type)) {}

    bool empty() const noexcept { return bindings_.empty(); }
    /// Does nothing if the binding exists.
    void bind(Binding binding);
    /// Returns false if there was no such binding.
    bool unbind(const Binding& binding);
    /// Removes every binding of that destination.
    /// \return false if there was none
    bool remove_destination(std::string_view destination);
    /// The destinations that a message is routed to, without duplicates.
    std::vector<std::string> route(std::string_view routing_key, const Json& headers) const;

private:
    bool matches(const Binding& binding, std::string_view routing_key, const Json& headers) const;

    std::string type_;
    std::vector<Binding> bindings_;
};

}  // namespace kombu::routing
