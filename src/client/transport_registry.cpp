// SPDX-License-Identifier: BSD-3-Clause
#include "client/transport_registry.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>

#include "amqp/transport.hpp"
#include "memory/transport.hpp"
#include "redis/transport.hpp"
#include "support/suggestion.hpp"

#include <map>
#include <utility>
#include <vector>

namespace kombu {
namespace {

class Registry {
public:
    void add(std::string name, std::shared_ptr<const Transport> transport) {
        const auto lock = transports_.lock();
        Map transports = transports_.get();
        transports[std::move(name)] = std::move(transport);
        transports_.set(std::move(transports));
    }

    detail::RegisteredTransport find(std::string_view name) const {
        const auto lock = transports_.lock();
        const Map& transports = transports_.get();
        const auto alias = aliases_.find(name);
        const auto found = transports.find(alias == aliases_.end() ? name : std::string_view{alias->second});
        if (found != transports.end()) return {found->first, found->second};
        std::vector<std::string> names;
        for (const auto& [key, transport] : transports) names.push_back(key);
        for (const auto& [key, target] : aliases_) names.push_back(key);
        throw ConfigurationError("no such transport: " + std::string{name.substr(0, 100)} + " (" +
                                 suggest(name, names) + ")");
    }

private:
    using Map = std::map<std::string, std::shared_ptr<const Transport>, std::less<>>;
    detail::CopyOnWrite<Map> transports_{{{"amqp", amqp::make_transport(amqp::Encryption::none)},
                                          {"amqps", amqp::make_transport(amqp::Encryption::tls)},
                                          {"memory", memory::make_transport()},
                                          {"redis", redis::make_transport(redis::Kind::plain)},
                                          {"rediss", redis::make_transport(redis::Kind::encrypted)},
                                          {"redis+socket", redis::make_transport(redis::Kind::unix_socket)},
                                          {"sentinel", redis::make_transport(redis::Kind::sentinel)}}};
    const std::map<std::string, std::string, std::less<>> aliases_{{"pyamqp", "amqp"}, {"librabbitmq", "amqp"}};
};

/// Never destroyed, since connections in other static objects may outlive it.
Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

}  // namespace

detail::RegisteredTransport detail::find_transport(std::string_view name) { return registry().find(name); }

void register_transport(std::string name, std::shared_ptr<const Transport> transport) {
    if (name.empty() || !transport) throw ConfigurationError("register_transport: name and transport must be set");
    registry().add(std::move(name), std::move(transport));
}

}  // namespace kombu
