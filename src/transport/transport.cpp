#include <kombu/transport.hpp>

#include <kombu/error.hpp>

namespace kombu {

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

async::Operation<> TransportChannel::prepare_to_receive(const Queue&, Deadline) { co_return; }

async::Operation<std::vector<std::exception_ptr>> TransportChannel::basic_publish_all(
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

}  // namespace kombu
