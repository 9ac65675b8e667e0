// SPDX-License-Identifier: BSD-3-Clause
#include "redis/options.hpp"

#include <kombu/error.hpp>

#include "support/validation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kombu::redis {
namespace {

constexpr double max_seconds = OptionalTimeout::unbounded_after;

[[noreturn]] void config_error(const std::string& name, const std::string& what) {
    throw ConfigurationError("transport_options." + name + ": " + what);
}

void check_seconds(const std::string& name, const Json& value, bool may_be_zero) {
    if (!value.is_number()) config_error(name, "must be a number of seconds");
    const double seconds = value.get<double>();
    if (!(seconds >= 0) || seconds > max_seconds || (seconds == 0 && !may_be_zero))
        config_error(name, may_be_zero ? "must be 0 or more seconds" : "must be more than 0 seconds");
}

void check_count(const std::string& name, const Json& value, double least) {
    if (!value.is_number()) config_error(name, "must be a number");
    const double count = value.get<double>();
    if (!(count >= least) || count > std::numeric_limits<std::int32_t>::max() || count != std::floor(count))
        config_error(name, "must be a whole number, at least " + std::to_string(static_cast<int>(least)));
}

void check_text(const std::string& name, const Json& value, bool may_be_empty) {
    if (!value.is_string()) config_error(name, "must be text");
    if (!may_be_empty && value.get_ref<const std::string&>().empty()) config_error(name, "must not be empty");
}

void check_priority_steps(const Json& value) {
    const char* const expected =
        "must be a list of whole numbers from 0 to 9, the first of them 0, each larger than the one before";
    if (!value.is_array() || value.empty()) config_error("priority_steps", expected);
    double previous = -1;
    for (const Json& step : value) {
        if (!step.is_number() || step.get<double>() != std::floor(step.get<double>()) || step.get<double>() > 9 ||
            step.get<double>() <= previous || (previous < 0 && step.get<double>() != 0))
            config_error("priority_steps", expected);
        previous = step.get<double>();
    }
}

void check_keepalive_options(const Json& value) {
    if (!value.is_object()) config_error("socket_keepalive_options", "must be a JSON object");
    for (const auto& [name, number] : value.items()) {
        if (!is_one_of(name, {"TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"}))
            config_error("socket_keepalive_options",
                         "accepts TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, not " + name.substr(0, 100));
        check_count("socket_keepalive_options." + name, number, 1);
    }
}

void check_sentinel_kwargs(const Json& value) {
    if (!value.is_object()) config_error("sentinel_kwargs", "must be a JSON object");
    for (const auto& [name, text] : value.items()) {
        if (!is_one_of(name, {"username", "password", "ssl"}))
            config_error("sentinel_kwargs", "accepts username, password and ssl, not " + name.substr(0, 100));
        if (name == "ssl" && !text.is_boolean()) config_error("sentinel_kwargs.ssl", "must be true or false");
        if (name != "ssl") check_text("sentinel_kwargs." + name, text, true);
    }
}

/// The value that stands for Kombu's None.
Json none_value(const std::string& name) {
    if (is_one_of(name, {"body_encoding", "deadletter_queue", "client_name", "global_keyprefix"})) return "";
    if (is_one_of(name, {"socket_keepalive_options", "sentinel_kwargs"})) return Json::object();
    if (is_one_of(name, {"fanout_prefix", "fanout_patterns", "retry_on_timeout"})) return false;
    if (name == "polling_interval") return 1.0;
    return 0;
}

std::chrono::nanoseconds parse_seconds(const Json& value) {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(value.get<double>() * 1e9)};
}

}  // namespace

Json option_defaults(bool sentinel) {
    Json defaults = {{"body_encoding", "base64"},
                     {"deadletter_queue", ""},
                     {"polling_interval", 1.0},
                     {"sep", "\x06\x16"},
                     {"ack_emulation", true},
                     {"unacked_key", "unacked"},
                     {"unacked_index_key", "unacked_index"},
                     {"unacked_mutex_key", "unacked_mutex"},
                     {"unacked_mutex_expire", 300.0},
                     {"visibility_timeout", 3600.0},
                     {"unacked_restore_limit", 0.0},
                     {"unacked_restore_interval", 10.0},
                     {"unacked_restore_throttle", 1.0},
                     {"fanout_prefix", true},
                     {"fanout_patterns", true},
                     {"global_keyprefix", ""},
                     {"socket_timeout", 0.0},
                     {"socket_connect_timeout", 0.0},
                     {"socket_keepalive", true},
                     {"socket_keepalive_options", Json::object()},
                     {"queue_order_strategy", "round_robin"},
                     {"max_connections", 10.0},
                     {"health_check_interval", 25.0},
                     {"reauth_check_interval", 10.0},
                     {"retry_on_timeout", false},
                     {"priority_steps", Json::array({0, 3, 6, 9})},
                     {"client_name", ""}};
    if (sentinel)
        defaults.update({{"master_name", ""}, {"sentinel_kwargs", Json::object()}, {"min_other_sentinels", 0.0}});
    return defaults;
}

namespace {

void check_value(const std::string& name, const Json& value) {
    if (is_one_of(name, {"polling_interval", "unacked_mutex_expire", "visibility_timeout", "unacked_restore_interval"}))
        return check_seconds(name, value, false);
    if (is_one_of(name, {"socket_timeout", "socket_connect_timeout", "health_check_interval", "reauth_check_interval"}))
        return check_seconds(name, value, true);
    if (is_one_of(name, {"unacked_restore_limit", "unacked_restore_throttle", "min_other_sentinels"}))
        return check_count(name, value, 0);
    if (name == "max_connections") return check_count(name, value, 1);
    if (is_one_of(name, {"sep", "unacked_key", "unacked_index_key", "unacked_mutex_key"}))
        return check_text(name, value, false);
    if (is_one_of(name, {"deadletter_queue", "global_keyprefix", "client_name", "master_name"})) {
        check_text(name, value, true);
        if (name == "client_name" && value.get_ref<const std::string&>().find_first_of(" \r\n\t") != std::string::npos)
            config_error(name, "must not contain spaces");
        return;
    }
    if (is_one_of(name, {"ack_emulation", "fanout_patterns", "socket_keepalive", "retry_on_timeout"})) {
        if (!value.is_boolean()) config_error(name, "must be true or false");
        return;
    }
    if (name == "body_encoding") {
        // Kombu 5.2 cannot read "utf-8". Apart from that name it writes the same for "utf-8" and for None.
        if (value != "base64" && value != "") config_error(name, "must be base64 or null");
    } else if (name == "fanout_prefix") {
        if (!value.is_boolean() && !value.is_string()) config_error(name, "must be true, false or text");
    } else if (name == "queue_order_strategy") {
        if (!value.is_string() || !is_one_of(value.get<std::string>(), {"round_robin", "priority", "sorted"}))
            config_error(name, "must be round_robin, priority or sorted");
    } else if (name == "priority_steps") {
        check_priority_steps(value);
    } else if (name == "socket_keepalive_options") {
        check_keepalive_options(value);
    } else if (name == "sentinel_kwargs") {
        check_sentinel_kwargs(value);
    }
}

}  // namespace

void check_option(const std::string& name, Json& value) {
    if (value.is_null()) value = none_value(name);
    check_value(name, value);
    // Equal values must be equal as JSON too: they are part of the connection's identity.
    if (value.is_number()) value = value.get<double>();
    if (value.is_structured())
        for (Json& each : value)
            if (each.is_number()) each = static_cast<int>(each.get<double>());
}

Options parse_options(const Json& chosen) {
    Options options;
    const auto text = [&](const char* name) { return chosen.at(name).get<std::string>(); };
    const auto count = [&](const char* name) { return static_cast<std::size_t>(chosen.at(name).get<double>()); };
    options.body_encoding =
        text("body_encoding") == "base64" ? envelope::BodyEncoding::base64 : envelope::BodyEncoding::none;
    options.deadletter_queue = text("deadletter_queue");
    options.polling_interval = parse_seconds(chosen.at("polling_interval"));
    options.separator = text("sep");
    const std::string order = text("queue_order_strategy");
    options.queue_order = order == "priority" ? Options::QueueOrder::priority
                          : order == "sorted" ? Options::QueueOrder::sorted
                                              : Options::QueueOrder::round_robin;
    options.priority_steps.clear();
    for (const Json& step : chosen.at("priority_steps"))
        options.priority_steps.push_back(static_cast<int>(step.get<double>()));
    options.global_keyprefix = text("global_keyprefix");
    options.ack_emulation = chosen.at("ack_emulation").get<bool>();
    options.unacked_key = text("unacked_key");
    options.unacked_index_key = text("unacked_index_key");
    options.unacked_mutex_key = text("unacked_mutex_key");
    options.unacked_mutex_expire = parse_seconds(chosen.at("unacked_mutex_expire"));
    options.visibility_timeout = parse_seconds(chosen.at("visibility_timeout"));
    options.unacked_restore_limit = count("unacked_restore_limit");
    options.unacked_restore_interval = parse_seconds(chosen.at("unacked_restore_interval"));
    options.unacked_restore_throttle = std::max<std::size_t>(count("unacked_restore_throttle"), 1);
    const Json& prefix = chosen.at("fanout_prefix");
    if (prefix.is_string())
        options.fanout_prefix = prefix.get<std::string>();
    else if (!prefix.get<bool>())
        options.fanout_prefix.clear();
    options.fanout_patterns = chosen.at("fanout_patterns").get<bool>();
    options.socket_timeout = parse_seconds(chosen.at("socket_timeout"));
    options.socket_connect_timeout = parse_seconds(chosen.at("socket_connect_timeout"));
    const Json& keep_alive_options = chosen.at("socket_keepalive_options");
    options.keep_alive.on = chosen.at("socket_keepalive").get<bool>();
    options.keep_alive.idle_seconds = static_cast<int>(keep_alive_options.value("TCP_KEEPIDLE", 60.0));
    options.keep_alive.interval_seconds = static_cast<int>(keep_alive_options.value("TCP_KEEPINTVL", 10.0));
    options.keep_alive.count = static_cast<int>(keep_alive_options.value("TCP_KEEPCNT", 6.0));
    options.retry_on_timeout = chosen.at("retry_on_timeout").get<bool>();
    options.health_check_interval = parse_seconds(chosen.at("health_check_interval"));
    options.reauth_check_interval = parse_seconds(chosen.at("reauth_check_interval"));
    options.client_name = text("client_name");
    if (chosen.contains("master_name")) {
        options.master_name = text("master_name");
        if (options.master_name.empty())
            throw ConfigurationError("transport_options.master_name: must be set for sentinel://");
        const Json& credentials = chosen.at("sentinel_kwargs");
        options.sentinel_userid = credentials.value("username", "");
        options.sentinel_password = credentials.value("password", "");
        options.sentinel_ssl = credentials.value("ssl", false);
        options.min_other_sentinels = count("min_other_sentinels");
    }
    return options;
}

}  // namespace kombu::redis
