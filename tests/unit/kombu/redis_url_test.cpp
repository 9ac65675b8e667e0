// SPDX-License-Identifier: BSD-3-Clause
// URLs and options of Redis. The forms are those of Kombu's transport.
#include "support/catch.hpp"

#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include <chrono>
#include <mutex>

using Catch::Matchers::Contains;
using kombu::Connection;
using kombu::ConnectionOptions;
using kombu::Json;
using kombu::ShowPassword;

namespace {

std::string error_of(std::string_view url, const ConnectionOptions& options = {}) {
    try {
        Connection{url, options};
    } catch (const kombu::ConfigurationError& error) {
        return error.what();
    }
    return "accepted";
}

std::string error_of_option(const std::string& name, const Json& value, const char* url = "redis://") {
    return error_of(url, {.transport_options = {{name, value}}});
}

}  // namespace

TEST_CASE("R9 redis URLs mean what they mean in Kombu", "[url][redis]") {
    const auto uri = [](const char* url) { return Connection{url}.as_uri(ShowPassword::yes); };
    CHECK(uri("redis://") == "redis://localhost:6379/0");
    CHECK(uri("redis://h") == "redis://h:6379/0");
    CHECK(uri("redis://h/3") == "redis://h:6379/3");
    CHECK(uri("redis://h//3") == "redis://h:6379/3");
    CHECK(uri("redis://:pw@h:6380/2") == "redis://:pw@h:6380/2");
    CHECK(uri("redis://u:pw@h/2") == "redis://u:pw@h:6379/2");
    CHECK(uri("redis://[::1]/") == "redis://[::1]:6379/0");
    CHECK(uri("redis://a/1;redis://b/1") == "redis://a:6379/1;redis://b:6379/1");
    CHECK(uri("redis://h/?visibility_timeout=10") == "redis://h:6379/0?visibility_timeout=10.0");
    CHECK(uri("redis://h/?priority_steps=%5B0,5%5D") == "redis://h:6379/0?priority_steps=%5B0%2C5%5D");
    CHECK(Connection{"redis://"} == Connection{"redis://localhost:6379/0"});
    CHECK(Connection{"redis://h"} == Connection{"redis://h//"});
    CHECK_FALSE(Connection{"redis://h/1"} == Connection{"redis://h/2"});
    CHECK_THAT(error_of("redis://h/x"), Contains("virtual_host"));
    CHECK_THAT(error_of("redis://h/-1"), Contains("virtual_host"));
    CHECK_THAT(error_of("redis://h/1/2"), Contains("virtual_host"));
    CHECK(Connection{"redis://h?heartbeat=5"}.heartbeat() == std::chrono::seconds{5});
    CHECK_THAT(error_of("redis://h", {.login_method = "PLAIN"}), Contains("login_method"));
    CHECK(Connection{"redis://u:s3cret@h"}.as_uri() == "redis://u:**@h:6379/0");
}

TEST_CASE("C10 a unix socket is a path, and its database is in the query", "[url][redis]") {
    const Connection connection{"redis+socket://:pw@/tmp/r.sock?virtual_host=2"};
    CHECK(connection.hostname() == "/tmp/r.sock");
    CHECK(connection.virtual_host() == "2");
    CHECK(connection.port() == 0);
    CHECK(connection.as_uri(ShowPassword::yes) == "redis+socket://:pw@/tmp/r.sock?virtual_host=2");
    CHECK(Connection{connection.as_uri(ShowPassword::yes)} == connection);
    CHECK(Connection{"redis+socket:///tmp/r.sock"}.as_uri() == "redis+socket:///tmp/r.sock?virtual_host=0");
    CHECK_FALSE(Connection{"redis+socket:///tmp/a"} == Connection{"redis+socket:///tmp/b"});
    CHECK_THAT(error_of("redis+socket://"), Contains("path"));
    CHECK_THAT(error_of("redis+socket:///tmp/r.sock", {.ssl = true}), Contains("ssl"));
}

TEST_CASE("U3 TLS is enabled by the scheme, an option or the query, and is part of the identity", "[url][redis][tls]") {
    const Connection scheme{"rediss://h"}, option{"redis://h", {.ssl = true}};
    CHECK(scheme == option);
    CHECK(option.as_uri() == "rediss://h:6379/0");
    CHECK_FALSE(scheme == Connection{"redis://h"});
    CHECK(Connection{"redis://h?ssl_cert_reqs=required"} == scheme);
    CHECK(Connection{"rediss://h?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=true"} == scheme);
    const Connection trusting{"rediss://h?ssl_cert_reqs=none"};
    CHECK_FALSE(trusting == scheme);
    CHECK(trusting == Connection{"redis://h", {.ssl = {{"ssl_cert_reqs", "none"}}}});
    CHECK(trusting == Connection{"redis://h", {.ssl = {{"cert_reqs", nullptr}}}});
    const Connection full{
        "rediss://h?ssl_ca_certs=/a.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=false"};
    CHECK(Connection{full.as_uri()} == full);
    CHECK_FALSE(full == scheme);
    CHECK_FALSE(Connection{"rediss://h?ssl_ca_certs=/a.pem"} == scheme);
    CHECK_FALSE(Connection{"rediss://h?ssl_check_hostname=false"} == scheme);
    CHECK(Connection{"rediss://a;redis://b"}.as_uri() == "rediss://a:6379/0;rediss://b:6379/0");
    CHECK_THAT(error_of("rediss://h?ssl_cert_reqs=maybe"), Contains("ssl_cert_reqs"));
    CHECK_THAT(error_of("rediss://h?ssl_check_hostname=maybe"), Contains("ssl_check_hostname"));
    CHECK_THAT(error_of("rediss://h?ssl_ca_cert=/a"), Contains("did you mean ssl_ca_certs?"));
    CHECK_THAT(error_of("rediss://h?ssl_keyfile=/a"), Contains("ssl_certfile"));
    CHECK_THAT(error_of("rediss://h", {.ssl = false}), Contains("ssl"));
    CHECK_THAT(error_of("redis://h", {.ssl = "yes"}), Contains("ssl"));
    CHECK_THAT(error_of("redis://h", {.ssl = {{"ssl_ca_certs", 5}}}), Contains("ssl_ca_certs"));
    CHECK_THAT(error_of("memory://h?ssl_ca_certs=/a"), Contains("ssl"));
}

TEST_CASE("trusting every certificate is logged", "[url][redis][tls]") {
    static std::mutex mutex;
    static std::string logged;
    kombu::set_logger([](kombu::LogLevel, std::string_view text) {
        const std::lock_guard lock{mutex};
        logged += text;
    });
    Connection{"rediss://h?ssl_cert_reqs=none"};
    kombu::set_logger({});
    const std::lock_guard lock{mutex};
    CHECK_THAT(logged, Contains("ssl_cert_reqs") && Contains("not verified"));
}

TEST_CASE("R13 sentinels are endpoints, and master_name is required", "[url][redis][sentinel]") {
    const Json options = {{"master_name", "m"}, {"sentinel_kwargs", {{"password", "s3cret"}}}};
    const Connection connection{"sentinel://:pw@h1:26380/1;h2;sentinel://:pw@h3/1", {.transport_options = options}};
    CHECK(connection.as_uri() ==
          "sentinel://:**@h1:26380/1?master_name=m;sentinel://:**@h2:26379/1;sentinel://:**@h3:26379/1");
    CHECK_FALSE(connection.as_uri(ShowPassword::yes).find("s3cret") != std::string::npos);
    CHECK_FALSE(connection == Connection{"sentinel://:pw@h1:26380/1;h2;sentinel://:pw@h3/1",
                                         {.transport_options = {{"master_name", "m"}}}});
    CHECK_THAT(error_of("sentinel://h"), Contains("master_name"));
    CHECK_THAT(error_of("redis://h", {.transport_options = {{"master_name", "m"}}}),
               Contains("unknown option: master_name"));
}

TEST_CASE("each of Kombu's options is known, and an invalid value is refused with its name", "[redis][options]") {
    struct Case {
        const char* name;
        Json good, bad;
    };
    const Case cases[] = {
        {"body_encoding", "base64", "utf-8"},
        {"deadletter_queue", "dead", 1},
        {"polling_interval", 0.5, 0},
        {"sep", ":", ""},
        {"ack_emulation", false, 0},
        {"unacked_key", "u", ""},
        {"unacked_index_key", "u", 1},
        {"unacked_mutex_key", "u", ""},
        {"unacked_mutex_expire", 60, 0},
        {"visibility_timeout", 43200, -1},
        {"unacked_restore_limit", 10, -1},
        {"unacked_restore_interval", 5, 0},
        {"unacked_restore_throttle", 2, 1.5},
        {"fanout_prefix", "x.", 1},
        {"fanout_patterns", false, "no"},
        {"global_keyprefix", "app:", 1},
        {"socket_timeout", 2.5, -1},
        {"socket_connect_timeout", 2.5, "soon"},
        {"socket_keepalive", false, 1},
        {"socket_keepalive_options", {{"TCP_KEEPIDLE", 30}}, {{"TCP_KEEPIDEL", 30}}},
        {"queue_order_strategy", "priority", "random"},
        {"max_connections", 5, 0},
        {"health_check_interval", 10, -1},
        {"reauth_check_interval", 10, -1},
        {"retry_on_timeout", true, "yes"},
        {"priority_steps", {0, 5}, {5, 0}},
        {"client_name", "me", "two words"},
        {"max_retries", 5, -1},
        {"interval_start", 0, -1},
        {"interval_step", 0.1, "x"},
        {"interval_max", 1, -1},
        {"connect_retries_timeout", 10, -1},
    };
    const Connection plain{"redis://"};
    for (const Case& each : cases) {
        INFO(each.name);
        CHECK(error_of_option(each.name, each.good) == "accepted");
        CHECK_THAT(error_of_option(each.name, each.bad), Contains(each.name));
        const Connection other{"redis://", {.transport_options = {{each.name, each.good}}}};
        const bool is_default = each.good == plain.transport_options().at(each.name);
        CHECK((other == plain) == is_default);
        CHECK(Connection{other.as_uri()} == other);  // every option is allowed in the URL
    }
    for (const char* name : {"socket_timeout", "deadletter_queue", "body_encoding", "unacked_restore_limit",
                             "polling_interval", "client_name", "fanout_prefix", "socket_keepalive_options"}) {
        INFO(name);
        CHECK(error_of_option(name, nullptr) == "accepted");  // Kombu's None
    }
    CHECK_THAT(error_of_option("visibility_timeot", 1), Contains("did you mean visibility_timeout?"));
    CHECK_THAT(error_of_option("visibility_timeout", nullptr), Contains("visibility_timeout"));
    for (const Json& steps : {Json::array(), Json{1, 2}, Json{0, 0}, Json{0, 10}, Json{0, 2.5}, Json("0")})
        CHECK_THAT(error_of_option("priority_steps", steps), Contains("priority_steps"));
    for (const Json& sentinel : {Json{{"pasword", "x"}}, Json{{"password", 1}}, Json("x")})
        CHECK_THAT(
            error_of("sentinel://", {.transport_options = {{"master_name", "m"}, {"sentinel_kwargs", sentinel}}}),
            Contains("sentinel_kwargs"));
    CHECK_THAT(error_of("redis://h?priority_steps=0,3"), Contains("priority_steps"));
    CHECK_THAT(error_of("sentinel://h?master_name=m&sentinel_kwargs=%7B'password':'s3cret'%7D"),
               Contains("sentinel_kwargs") && !Contains("s3cret"));
}
