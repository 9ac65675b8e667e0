#include "transport_registry.hpp"

#include <kombu/detail/per_process.hpp>
#include <kombu/error.hpp>

#include "amqp/transport.hpp"
#include "memory/transport.hpp"
#include "nearest.hpp"
#include "redis/transport.hpp"

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

    detail::KnownTransport find(std::string_view name) const {
        const auto lock = transports_.lock();
        const Map& transports = transports_.get();
        const auto alias = aliases_.find(name);
        const auto found = transports.find(alias == aliases_.end() ? name : std::string_view{alias->second});
        if (found != transports.end()) return {found->first, found->second};
        if (name == "amqps") throw ConfigurationError("transport amqps: TLS is not supported yet");
        std::vector<std::string> known;
        for (const auto& [key, transport] : transports) known.push_back(key);
        for (const auto& [key, target] : aliases_) known.push_back(key);
        throw ConfigurationError("no such transport: " + std::string{name.substr(0, 100)} + " (" +
                                 suggest(name, known) + ")");
    }

private:
    using Map = std::map<std::string, std::shared_ptr<const Transport>, std::less<>>;
    detail::CopyOnWrite<Map> transports_{{{"amqp", amqp::make_transport()},
                                          {"memory", memory::make_transport()},
                                          {"redis", redis::make_transport(redis::Kind::plain)},
                                          {"rediss", redis::make_transport(redis::Kind::encrypted)},
                                          {"redis+socket", redis::make_transport(redis::Kind::unix_socket)},
                                          {"sentinel", redis::make_transport(redis::Kind::sentinel)}}};
    const std::map<std::string, std::string, std::less<>> aliases_{{"pyamqp", "amqp"}, {"librabbitmq", "amqp"}};
};

/// Never destroyed: connections in other static objects may outlive it otherwise.
Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

}  // namespace

detail::KnownTransport detail::find_transport(std::string_view name) { return registry().find(name); }

void register_transport(std::string name, std::shared_ptr<const Transport> transport) {
    if (name.empty() || !transport) throw ConfigurationError("register_transport: name and transport must be set");
    registry().add(std::move(name), std::move(transport));
}

void Transport::check_option(const std::string& name, Json& value) const {
    const Json defaults = option_defaults();
    const Json& like = defaults.at(name);
    const auto refuse = [&](const char* what) {
        throw ConfigurationError("transport_options." + name + ": must be " + what);
    };
    if (like.is_boolean() && !value.is_boolean()) refuse("true or false");
    if (like.is_number() && !value.is_number()) refuse("a number");
    if (like.is_string() && !value.is_string()) refuse("text");
    if (like.is_number()) value = value.get<double>();
}

Operation<> TransportChannel::prepare_to_receive(const Queue&, Deadline) { co_return; }

Operation<std::vector<std::exception_ptr>> TransportChannel::basic_publish_all(
    std::span<const OutgoingMessage> messages, Deadline deadline, OptionalTimeout confirm_timeout) {
    std::vector<std::exception_ptr> results(messages.size());
    std::exception_ptr broken;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (broken) {
            results[i] = broken;
            continue;
        }
        try {
            co_await basic_publish(messages[i], deadline, confirm_timeout);
        } catch (const OperationalError& error) {
            results[i] = std::current_exception();
            if (error.poisons_connection() || !is_open()) broken = results[i];
        }
    }
    co_return results;
}

std::chrono::nanoseconds ConnectionParameters::operation_timeout() const {
    return std::chrono::nanoseconds{
        static_cast<std::int64_t>(transport_options.at("operation_timeout").get<double>() * 1e9)};
}

RetryPolicy ConnectionParameters::connect_policy() const {
    const auto number = [&](const char* name) { return transport_options.at(name).get<double>(); };
    const auto seconds = [&](const char* name) { return std::chrono::duration<double>{number(name)}; };
    RetryPolicy policy{.max_retries = static_cast<unsigned>(number("max_retries")),
                       .interval_start = seconds("interval_start"),
                       .interval_step = seconds("interval_step"),
                       .interval_max = seconds("interval_max")};
    if (number("connect_retries_timeout") > 0) policy.timeout = seconds("connect_retries_timeout");
    return policy;
}

bool ConnectionParameters::confirm_publish() const { return transport_options.at("confirm_publish").get<bool>(); }

}  // namespace kombu
