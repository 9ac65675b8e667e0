// SPDX-License-Identifier: BSD-3-Clause
#include "client/connection_config.hpp"

#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "client/transport_registry.hpp"
#include "support/suggestion.hpp"
#include "transport/tls_options.hpp"

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

constexpr double max_seconds = OptionalTimeout::unbounded_after;

std::vector<std::string_view> split_list(std::string_view list) {
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
    if (seconds < 0 || seconds > max_seconds)
        throw ConfigurationError(field + ": out of range: " + std::string{text.substr(0, 100)});
    return std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)};
}

/// Converts query text to the type of the option's default. Text that is no boolean stays text, for options of several
/// types.
Json parse_typed(std::string_view text, const Json& default_value, const std::string& field) {
    if (default_value.is_structured()) {
        Json parsed = Json::parse(text, nullptr, false);
        // The text is not quoted: it may contain a password.
        if (parsed.is_discarded())
            throw ConfigurationError(field + ": must be JSON, with its special characters percent-encoded");
        return parsed;
    }
    if (default_value.is_boolean())
        return text == "true" || text == "1" ? Json(true) : text == "false" || text == "0" ? Json(false) : Json(text);
    if (default_value.is_number()) return parse_number(text, field);
    return std::string{text};
}

/// The options common to all transports, with their defaults.
const Json& common_options() {
    static const auto* const options =
        new Json{{"confirm_publish", true},       {"operation_timeout", 30.0}, {"max_retries", 0.0},
                 {"interval_start", 2.0},         {"interval_step", 2.0},      {"interval_max", 30.0},
                 {"connect_retries_timeout", 0.0}};
    return *options;
}

void check_common_option(const std::string& name, Json& value) {
    const std::string field = "transport_options." + name;
    if (name == "confirm_publish") {
        if (!value.is_boolean()) throw ConfigurationError(field + ": must be true or false");
        return;
    }
    if (!value.is_number()) throw ConfigurationError(field + ": must be a number");
    const double number = value.get<double>();
    if (name == "operation_timeout" ? !(number > 0) || number > max_seconds : !(number >= 0) || number > max_seconds)
        throw ConfigurationError(name + ": must be " +
                                 (name == "operation_timeout" ? "more than 0 seconds" : "0 or more"));
    value = number;
}

bool has_encrypted_form(std::string_view transport) { return transport == "amqp" || transport == "redis"; }
bool is_encrypted(std::string_view transport) {
    return transport.ends_with('s') && has_encrypted_form(transport.substr(0, transport.size() - 1));
}

class ConfigParser {
public:
    ConfigParser(std::string_view url, const ConnectionOptions& options) : options_(options) {
        std::vector<std::string_view> endpoint_texts = split_list(url);
        for (const std::string& alternate : options.alternates)
            for (std::string_view endpoint_text : split_list(alternate)) endpoint_texts.push_back(endpoint_text);
        if (endpoint_texts.empty()) endpoint_texts.push_back("amqp://");

        const Url first = parse_endpoint(endpoint_texts.front(), nullptr);
        const RegisteredTransport registered = resolve_transport(first);
        config_->transport = registered.transport;
        parameters().transport = registered.name;
        read_options(first.query);
        add_endpoint(first);
        for (std::size_t i = 1; i < endpoint_texts.size(); ++i) {
            const Url alternate = parse_endpoint(endpoint_texts[i], &first);
            if (!is_same_transport(alternate.transport, registered.name))
                throw ConfigurationError("alternates: all endpoints of a connection must have one transport, not " +
                                         registered.name + " and " + alternate.transport);
            for (const auto& option : alternate.query)
                if (std::find(first.query.begin(), first.query.end(), option) == first.query.end())
                    throw ConfigurationError("alternates: the option " + option.first +
                                             " must be in the first URL, since it applies to all endpoints");
            add_endpoint(alternate);
        }
        registered.transport->check(parameters());
        if (parameters().ssl && parameters().ssl->cert_reqs == SslOptions::CertReqs::none)
            log(LogLevel::warning, parameters().transport + "://" + parameters().endpoints.front().hostname +
                                       ": ssl_cert_reqs is none: the server's certificate is not verified");
        config_->identity = identity();
        config_->hash = std::hash<std::string>{}(config_->identity);
    }

    std::shared_ptr<const ConnectionConfig> extract() { return std::move(config_); }

private:
    ConnectionParameters& parameters() { return config_->parameters; }

    template <class T>
    static void apply(const std::optional<T>& option, std::optional<T>& target) {
        if (option) target = option;
    }

    static std::uint16_t checked_port(int port) {
        if (port < 1 || port > 65535)
            throw ConfigurationError("port: must be from 1 to 65535, not " + std::to_string(port));
        return static_cast<std::uint16_t>(port);
    }

    /// A broker over TLS is always the transport amqps or rediss, whether the scheme or the options ask for TLS.
    RegisteredTransport resolve_transport(const Url& url) {
        RegisteredTransport resolved = find_transport(url.transport);
        parameters().ssl = parse_ssl(options_.ssl, url.query, is_encrypted(resolved.name));
        if (parameters().ssl && !resolved.transport->supports_ssl())
            throw ConfigurationError("ssl: TLS is not supported by the transport " + resolved.name);
        if (parameters().ssl && has_encrypted_form(resolved.name)) resolved = find_transport(resolved.name + 's');
        return resolved;
    }

    static bool is_same_transport(const std::string& alternate, const std::string& chosen) {
        const std::string name = find_transport(alternate).name;
        return name == chosen || (has_encrypted_form(name) && chosen == name + 's');
    }

    /// Parses a URL, or a host name with an optional port. A host name takes transport, credentials and, unless it has
    /// its own, virtual host from the first endpoint.
    static Url parse_endpoint(std::string_view text, const Url* first) {
        if (is_url(text)) return with_socket_path(parse_url(text));
        Url url = parse_url((first ? first->transport : "amqp") + "://" + std::string{text});
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

    /// The path of a unix-socket URL is the path of the socket; its virtual host is a query option.
    static Url with_socket_path(Url url) {
        if (!url.transport.ends_with("+socket")) return url;
        url.hostname = '/' + url.virtual_host.value_or("");
        url.virtual_host.reset();
        const auto found = std::find_if(url.query.begin(), url.query.end(),
                                        [](const auto& option) { return option.first == "virtual_host"; });
        if (found == url.query.end()) return url;
        url.virtual_host = found->second;
        url.query.erase(found);
        return url;
    }

    void add_endpoint(Url url) {
        // Explicit options override the URLs of all endpoints, except the port in an alternate's own URL.
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
        config_->transport->normalise(endpoint);
        parameters().endpoints.push_back(std::move(endpoint));
    }

    void read_options(const Query& query) {
        Json defaults = config_->transport->option_defaults();
        defaults.update(common_options());
        Json& values = parameters().transport_options = defaults;
        std::optional<FailoverStrategy> failover;
        std::optional<std::string> login;

        for (const auto& [key, value] : query) {
            if (key == "heartbeat")
                parameters().heartbeat = parse_seconds(value, key);
            else if (key == "connect_timeout")
                parameters().connect_timeout = parse_seconds(value, key);
            else if (key == "failover_strategy")
                failover = value;
            else if (key == "login_method")
                login = value;
            else if (is_ssl_option(key))
                continue;  // parsed by parse_ssl
            else if (const auto default_option = defaults.find(key); default_option != defaults.end())
                values[key] = parse_typed(value, *default_option, key);
            else
                throw_unknown_option(key, defaults);
        }

        if (!options_.transport_options.is_object() && !options_.transport_options.is_null())
            throw ConfigurationError("transport_options: must be a JSON object");
        for (const auto& [key, value] : options_.transport_options.items()) {
            if (!defaults.contains(key)) throw_unknown_option(key, defaults);
            values[key] = value;
        }
        for (auto& [key, value] : values.items()) {
            if (common_options().contains(key))
                check_common_option(key, value);
            else
                config_->transport->check_option(key, value);
        }

        apply(options_.failover_strategy, failover);
        apply(options_.login_method, login);
        parameters().failover_strategy = failover.value_or(FailoverStrategy{});
        parameters().login_method = login.value_or(config_->transport->default_login_method());
        if (options_.heartbeat.has_value()) parameters().heartbeat = options_.heartbeat.value();
        if (options_.connect_timeout.has_value()) parameters().connect_timeout = options_.connect_timeout.value();
        if (parameters().connect_timeout <= std::chrono::nanoseconds::zero())
            throw ConfigurationError("connect_timeout: must be more than 0");
    }

    [[noreturn]] static void throw_unknown_option(const std::string& key, const Json& defaults) {
        std::vector<std::string> known_names{"connect_timeout", "failover_strategy", "heartbeat", "login_method"};
        for (const auto& [name, value] : defaults.items()) known_names.push_back(name);
        throw ConfigurationError("unknown option: " + key.substr(0, 100) + " (" + suggest(key, known_names) + ")");
    }

    /// Each field is preceded by its length, so that different configurations have different identities.
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
        add(parameters().failover_strategy.name());
        // Functions are told apart by their address, which lives as long as the configuration.
        add(std::to_string(reinterpret_cast<std::uintptr_t>(parameters().failover_strategy.function().get())));
        add(parameters().login_method);
        add(std::to_string(parameters().heartbeat.count()));
        add(std::to_string(parameters().connect_timeout.count()));
        if (const auto& ssl = parameters().ssl) {
            add("ssl");
            for (const auto& [name, value] : ssl_query(*ssl)) add(name + '=' + value);
        }
        add(parameters().transport_options.dump(-1, ' ', false, Json::error_handler_t::replace));
        return text;
    }

    const ConnectionOptions& options_;
    std::shared_ptr<ConnectionConfig> config_ = std::make_shared<ConnectionConfig>();
};

template <class CharSet>
std::string percent_encoded(std::string_view text, const CharSet& allowed) {
    return boost::urls::encode(text, allowed);
}

std::string seconds_text(std::chrono::nanoseconds time) {
    std::array<char, 32> buffer{};
    const auto end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<double>(time.count()) / 1e9).ptr;
    return {buffer.data(), end};
}

/// Whether the value contains a password.
bool is_secret_option(std::string_view name) { return name == "sentinel_kwargs"; }

std::string endpoint_uri(const std::string& transport, const Endpoint& endpoint, ShowPassword show) {
    const auto& unreserved = boost::urls::unreserved_chars;
    std::string uri = transport + "://" + percent_encoded(endpoint.userid, unreserved);
    if (!endpoint.password.empty())
        uri += ':' + (show == ShowPassword::yes ? percent_encoded(endpoint.password.reveal(), unreserved)
                                                : std::string{"**"});
    if (!endpoint.userid.empty() || !endpoint.password.empty()) uri += '@';
    if (transport.ends_with("+socket")) return uri + percent_encoded(endpoint.hostname, unreserved + '/');
    const bool ipv6 = endpoint.hostname.find(':') != std::string::npos;
    uri += ipv6 ? '[' + endpoint.hostname + ']' : percent_encoded(endpoint.hostname, unreserved);
    if (endpoint.port != 0) uri += ':' + std::to_string(endpoint.port);
    if (!endpoint.virtual_host.empty()) uri += '/' + percent_encoded(endpoint.virtual_host, unreserved + '/');
    return uri;
}

}  // namespace

std::shared_ptr<const ConnectionConfig> parse_connection(std::string_view url, const ConnectionOptions& options) {
    return ConfigParser{url, options}.extract();
}

std::string to_uri(const ConnectionConfig& config, ShowPassword show, std::size_t first) {
    const ConnectionParameters& parameters = config.parameters;
    const auto endpoint = [&](std::size_t i) -> const Endpoint& {
        return parameters.endpoints[(first + i) % parameters.endpoints.size()];
    };
    std::string uri = endpoint_uri(parameters.transport, endpoint(0), show);

    std::string query;
    const auto add = [&](const std::string& key, const std::string& value) {
        query += (query.empty() ? '?' : '&') + key + '=' + percent_encoded(value, boost::urls::unreserved_chars);
    };
    if (parameters.heartbeat.count() != 0) add("heartbeat", seconds_text(parameters.heartbeat));
    if (parameters.connect_timeout != std::chrono::seconds{5})
        add("connect_timeout", seconds_text(parameters.connect_timeout));
    const FailoverStrategy& failover = parameters.failover_strategy;
    if (!failover.function() && failover != FailoverStrategy{}) add("failover_strategy", failover.name());
    if (parameters.login_method != config.transport->default_login_method())
        add("login_method", parameters.login_method);
    const bool is_socket = parameters.transport.ends_with("+socket");
    if (is_socket) add("virtual_host", endpoint(0).virtual_host);
    if (parameters.ssl) {
        const bool implied_by_scheme = is_encrypted(parameters.transport);
        if (!implied_by_scheme && parameters.ssl->cert_reqs == SslOptions::CertReqs::required)
            add("ssl_cert_reqs", "required");
        for (const auto& [name, value] : ssl_query(*parameters.ssl)) add(name, value);
    }
    Json defaults = config.transport->option_defaults();
    defaults.update(common_options());
    for (const auto& [key, value] : parameters.transport_options.items())
        if (value != defaults[key] && !is_secret_option(key))
            add(key, value.is_string() ? value.get<std::string>() : value.dump());
    uri += query;

    for (std::size_t i = 1; i < parameters.endpoints.size(); ++i)
        uri += ';' + endpoint_uri(parameters.transport, endpoint(i), show);
    return uri;
}

}  // namespace kombu::detail
