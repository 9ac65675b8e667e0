#include "description.hpp"

#include <kombu/error.hpp>

#include "nearest.hpp"
#include "transport_registry.hpp"

#include <boost/url/encode.hpp>
#include <boost/url/rfc/pchars.hpp>
#include <boost/url/rfc/unreserved_chars.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace kombu::detail {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

constexpr double longest = 3.0e9;  // seconds; see OptionalTimeout

std::vector<std::string_view> split(std::string_view list) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(';', begin), list.size());
        if (end != begin) parts.push_back(list.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

bool is_url(std::string_view text) { return text.find("://") != std::string_view::npos; }

double parse_number(std::string_view text, const std::string& field) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
        throw ConfigurationError(field + ": not a number: " + std::string{text.substr(0, 100)});
    return value;
}

std::chrono::nanoseconds parse_seconds(std::string_view text, const std::string& field) {
    const double seconds = parse_number(text, field);
    if (seconds < 0 || seconds > longest)
        throw ConfigurationError(field + ": out of range: " + std::string{text.substr(0, 100)});
    return std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)};
}

bool parse_bool(std::string_view text, const std::string& field) {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    throw ConfigurationError(field + ": true or false, not " + std::string{text.substr(0, 100)});
}

/// Text of a query as the type that the option's default has.
Json typed(std::string_view text, const Json& like, const std::string& field) {
    if (like.is_boolean()) return parse_bool(text, field);
    if (like.is_number()) return parse_number(text, field);
    return std::string{text};
}

void check_type(const Json& value, const Json& like, const std::string& field) {
    if (like.is_boolean() && !value.is_boolean()) throw ConfigurationError(field + ": must be true or false");
    if (like.is_number() && !value.is_number()) throw ConfigurationError(field + ": must be a number");
    if (like.is_string() && !value.is_string()) throw ConfigurationError(field + ": must be text");
}

class Builder {
public:
    Builder(std::string_view url, const ConnectionOptions& options) : options_(options) {
        std::vector<std::string_view> places = split(url);
        for (const std::string& alternate : options.alternates)
            for (std::string_view place : split(alternate)) places.push_back(place);
        if (places.empty()) places.push_back("amqp://");

        const Url first = parse_place(places.front(), nullptr);
        const KnownTransport known = find_transport(first.transport);
        description_->transport = known.transport;
        parameters().transport = known.name;
        read_options(first.query);
        add_endpoint(first);
        for (std::size_t i = 1; i < places.size(); ++i) {
            const Url alternate = parse_place(places[i], &first);
            if (find_transport(alternate.transport).name != known.name)
                throw ConfigurationError("alternates: all endpoints of a connection must have one transport, not " +
                                         known.name + " and " + alternate.transport);
            for (const auto& option : alternate.query)
                if (std::find(first.query.begin(), first.query.end(), option) == first.query.end())
                    throw ConfigurationError("alternates: the option " + option.first +
                                             " must stand in the first URL, since it applies to all");
            add_endpoint(alternate);
        }
        known.transport->check(parameters());
        description_->identity = identity();
        description_->hash = std::hash<std::string>{}(description_->identity);
    }

    std::shared_ptr<const Description> take() { return std::move(description_); }

private:
    ConnectionParameters& parameters() { return description_->parameters; }

    template <class T>
    static void apply(const std::optional<T>& option, std::optional<T>& part) {
        if (option) part = option;
    }

    static std::uint16_t checked_port(int port) {
        if (port < 1 || port > 65535)
            throw ConfigurationError("port: must be from 1 to 65535, not " + std::to_string(port));
        return static_cast<std::uint16_t>(port);
    }

    /// A URL, or a host name with or without a port, which takes the rest from the first place.
    static Url parse_place(std::string_view place, const Url* first) {
        if (is_url(place)) return parse_url(place);
        Url url = parse_url((first ? first->transport : "amqp") + "://" + std::string{place});
        if (!first) return url;
        if (url.userid || url.password)
            throw ConfigurationError(
                "alternates: a host name without transport:// takes its credentials from the first URL and "
                "must not have any of its own (and a ';' within a URL must be written %3B)");
        url.userid = first->userid;
        url.password = first->password;
        url.virtual_host = url.virtual_host ? url.virtual_host : first->virtual_host;
        return url;
    }

    void add_endpoint(Url url) {
        // What is set explicitly goes for every endpoint.
        apply(options_.userid, url.userid);
        apply(options_.password, url.password);
        apply(options_.virtual_host, url.virtual_host);
        const bool first = parameters().endpoints.empty();
        if (options_.port && (first || !url.port)) url.port = checked_port(*options_.port);
        Endpoint endpoint;
        endpoint.hostname = url.hostname.value_or("");
        endpoint.port = url.port.value_or(std::uint16_t{0});
        endpoint.userid = url.userid.value_or("");
        endpoint.password = url.password.value_or(Password{});
        endpoint.virtual_host = url.virtual_host.value_or("");
        if (endpoint.userid.find('\0') != std::string::npos || endpoint.virtual_host.find('\0') != std::string::npos)
            throw ConfigurationError("userid and virtual_host: must not contain a NUL character");
        description_->transport->normalise(endpoint);
        parameters().endpoints.push_back(std::move(endpoint));
    }

    void read_options(const Query& query) {
        if (options_.ssl) throw ConfigurationError("ssl: TLS is not supported yet");
        Json defaults = description_->transport->option_defaults();
        defaults.update({{"confirm_publish", true}, {"operation_timeout", 30.0}});
        Json& chosen = parameters().transport_options = defaults;
        std::optional<std::string> failover, login;

        for (const auto& [key, value] : query) {
            if (key == "heartbeat")
                parameters().heartbeat = parse_seconds(value, key);
            else if (key == "connect_timeout")
                parameters().connect_timeout = parse_seconds(value, key);
            else if (key == "failover_strategy")
                failover = value;
            else if (key == "login_method")
                login = value;
            else if (const auto known = defaults.find(key); known != defaults.end())
                chosen[key] = typed(value, *known, key);
            else
                refuse(key, defaults);
        }

        if (!options_.transport_options.is_object() && !options_.transport_options.is_null())
            throw ConfigurationError("transport_options: must be a JSON object");
        for (const auto& [key, value] : options_.transport_options.items()) {
            const auto known = defaults.find(key);
            if (known == defaults.end()) refuse(key, defaults);
            check_type(value, *known, "transport_options." + key);
            chosen[key] = known->is_number() ? Json(value.get<double>()) : value;
        }
        const double timeout = chosen["operation_timeout"].get<double>();
        if (!(timeout > 0) || timeout > longest)
            throw ConfigurationError("operation_timeout: must be more than 0 seconds");

        apply(options_.failover_strategy, failover);
        apply(options_.login_method, login);
        parameters().failover_strategy = failover.value_or("round-robin");
        if (parameters().failover_strategy != "round-robin" && parameters().failover_strategy != "shuffle")
            throw ConfigurationError("failover_strategy: round-robin or shuffle, not " +
                                     parameters().failover_strategy.substr(0, 100));
        parameters().login_method = login.value_or(description_->transport->default_login_method());
        if (options_.heartbeat.has_value()) parameters().heartbeat = options_.heartbeat.value();
        if (options_.connect_timeout.has_value()) parameters().connect_timeout = options_.connect_timeout.value();
        if (parameters().connect_timeout <= std::chrono::nanoseconds::zero())
            throw ConfigurationError("connect_timeout: must be more than 0");
    }

    [[noreturn]] static void refuse(const std::string& key, const Json& defaults) {
        if (key.starts_with("ssl")) throw ConfigurationError(key + ": TLS is not supported yet");
        std::vector<std::string> known{"connect_timeout", "failover_strategy", "heartbeat", "login_method"};
        for (const auto& [name, value] : defaults.items()) known.push_back(name);
        throw ConfigurationError("unknown option: " + key.substr(0, 100) + " (" + suggest(key, known) + ")");
    }

    /// Every field with its length, so that no two descriptions run into one.
    std::string identity() {
        std::string text;
        const auto add = [&](const std::string& field) { text += std::to_string(field.size()) + ':' + field; };
        add(parameters().transport);
        for (const Endpoint& endpoint : parameters().endpoints) {
            add(endpoint.hostname);
            add(std::to_string(endpoint.port));
            add(endpoint.userid);
            add(endpoint.password.identity());
            add(endpoint.virtual_host);
        }
        add(parameters().failover_strategy);
        add(parameters().login_method);
        add(std::to_string(parameters().heartbeat.count()));
        add(std::to_string(parameters().connect_timeout.count()));
        add(parameters().transport_options.dump(-1, ' ', false, Json::error_handler_t::replace));
        return text;
    }

    const ConnectionOptions& options_;
    std::shared_ptr<Description> description_ = std::make_shared<Description>();
};

template <class CharSet>
std::string quoted(std::string_view text, const CharSet& allowed) {
    return boost::urls::encode(text, allowed);
}

std::string seconds_text(std::chrono::nanoseconds time) {
    std::array<char, 32> buffer{};
    const auto end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<double>(time.count()) / 1e9).ptr;
    return {buffer.data(), end};
}

std::string endpoint_uri(const std::string& transport, const Endpoint& endpoint, ShowPassword show) {
    const auto& plain = boost::urls::unreserved_chars;
    std::string uri = transport + "://" + quoted(endpoint.userid, plain);
    if (!endpoint.password.empty())
        uri += ':' + (show == ShowPassword::yes ? quoted(endpoint.password.reveal(), plain) : std::string{"**"});
    if (!endpoint.userid.empty() || !endpoint.password.empty()) uri += '@';
    const bool ipv6 = endpoint.hostname.find(':') != std::string::npos;
    uri += ipv6 ? '[' + endpoint.hostname + ']' : quoted(endpoint.hostname, plain);
    if (endpoint.port != 0) uri += ':' + std::to_string(endpoint.port);
    if (!endpoint.virtual_host.empty()) uri += '/' + quoted(endpoint.virtual_host, plain + '/');
    return uri;
}

}  // namespace

std::shared_ptr<const Description> describe(std::string_view url, const ConnectionOptions& options) {
    return Builder{url, options}.take();
}

std::string to_uri(const Description& description, ShowPassword show) {
    const ConnectionParameters& parameters = description.parameters;
    std::string uri = endpoint_uri(parameters.transport, parameters.endpoints.front(), show);

    std::string query;
    const auto add = [&](const std::string& key, const std::string& value) {
        query += (query.empty() ? '?' : '&') + key + '=' + quoted(value, boost::urls::unreserved_chars);
    };
    if (parameters.heartbeat.count() != 0) add("heartbeat", seconds_text(parameters.heartbeat));
    if (parameters.connect_timeout != std::chrono::seconds{5})
        add("connect_timeout", seconds_text(parameters.connect_timeout));
    if (parameters.failover_strategy != "round-robin") add("failover_strategy", parameters.failover_strategy);
    if (parameters.login_method != description.transport->default_login_method())
        add("login_method", parameters.login_method);
    Json defaults = description.transport->option_defaults();
    defaults.update({{"confirm_publish", true}, {"operation_timeout", 30.0}});
    for (const auto& [key, value] : parameters.transport_options.items())
        if (value != defaults[key]) add(key, value.is_string() ? value.get<std::string>() : value.dump());
    uri += query;

    for (std::size_t i = 1; i < parameters.endpoints.size(); ++i)
        uri += ';' + endpoint_uri(parameters.transport, parameters.endpoints[i], show);
    return uri;
}

}  // namespace kombu::detail
