// SPDX-License-Identifier: BSD-3-Clause
// URLs, and Connections made from them. The cases are Kombu's, except where docs/parity.md says otherwise.
#include "support/catch.hpp"

#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/url.hpp>

#include <sstream>

using Catch::Matchers::Contains;
using kombu::Connection;
using kombu::parse_url;
using kombu::ShowPassword;

namespace {

using Text = std::optional<std::string>;

std::string error_of(std::string_view url, const kombu::ConnectionOptions& options = {}) {
    try {
        Connection{url, options};
    } catch (const kombu::ConfigurationError& error) {
        return error.what();
    }
    return "accepted";
}

struct Case {
    std::string url;
    std::string hostname;
    int port;
    std::string userid, password, virtual_host;
};

}  // namespace

TEST_CASE("U1 a URL is parsed, and missing or empty parts are not set", "[url]") {
    const auto url = parse_url("amqp://u%40x:p%2Fw@H:1/v%20h?heartbeat=10");
    CHECK(url.transport == "amqp");
    CHECK(url.hostname == Text{"h"});
    CHECK(url.port == std::optional<std::uint16_t>{1});
    CHECK(url.userid == Text{"u@x"});
    CHECK(url.password->reveal() == "p/w");
    CHECK(url.virtual_host == Text{"v h"});
    CHECK(url.query == std::vector<std::pair<std::string, std::string>>{{"heartbeat", "10"}});

    const auto empty = parse_url("amqp://:@/");
    CHECK_FALSE(empty.hostname);
    CHECK_FALSE(empty.port);
    CHECK_FALSE(empty.userid);
    CHECK_FALSE(empty.password);
    CHECK_FALSE(empty.virtual_host);
}

TEST_CASE("C7 C9 amqp URLs mean what they mean in Kombu", "[url][connection]") {
    const Case cases[] = {
        {"amqp://", "localhost", 5672, "guest", "guest", "/"},
        {"amqp://guest:guest@localhost:5672//", "localhost", 5672, "guest", "guest", "/"},
        {"amqp://localhost", "localhost", 5672, "guest", "guest", "/"},
        {"amqp://localhost/", "localhost", 5672, "guest", "guest", "/"},
        {"amqp://h/%2F", "h", 5672, "guest", "guest", "/"},
        {"amqp://h/%2f", "h", 5672, "guest", "guest", "/"},
        {"amqp://h/%2f%2f", "h", 5672, "guest", "guest", "//"},
        {"amqp://h/my/vhost", "h", 5672, "guest", "guest", "my/vhost"},
        {"amqp://u%40x:p%2Fw@h:1/v%20h", "h", 1, "u@x", "p/w", "v h"},
        {"amqp://user%61:%61pass@ho%61st:10000/v%2fhost", "hoast", 10000, "usera", "apass", "v/host"},
        {"amqp://:@/", "localhost", 5672, "guest", "guest", "/"},
        {"amqp://u:@h/", "h", 5672, "u", "guest", "/"},
        {"amqp://:10000", "localhost", 10000, "guest", "guest", "/"},
        {"amqp:///vhost", "localhost", 5672, "guest", "guest", "vhost"},
        {"amqp://user@/", "localhost", 5672, "user", "guest", "/"},
        {"amqp://[::1]:5672//", "::1", 5672, "guest", "guest", "/"},
        {"pyamqp://h", "h", 5672, "guest", "guest", "/"},
        {"AMQP://H", "h", 5672, "guest", "guest", "/"},
        {"h", "h", 5672, "guest", "guest", "/"},
        {"h:5673", "h", 5673, "guest", "guest", "/"},
    };
    for (const Case& expected : cases) {
        INFO(expected.url);
        const Connection connection{expected.url};
        CHECK(connection.transport() == "amqp");
        CHECK(connection.hostname() == expected.hostname);
        CHECK(connection.port() == expected.port);
        CHECK(connection.userid() == expected.userid);
        CHECK(connection.virtual_host() == expected.virtual_host);
        const auto shown = parse_url(connection.as_uri(ShowPassword::yes));
        CHECK(shown.password->reveal() == expected.password);
        // C6: the URI with the password parses to an equal connection.
        CHECK(Connection{connection.as_uri(ShowPassword::yes)} == connection);
    }
}

TEST_CASE("C6 as_uri masks the password and is otherwise faithful", "[url][connection]") {
    CHECK(Connection{"amqp://"}.as_uri() == "amqp://guest:**@localhost:5672//");
    CHECK(Connection{"amqp://u%40x:p%2Fw@h:1/v%20h"}.as_uri() == "amqp://u%40x:**@h:1/v%20h");
    CHECK(Connection{"amqp://u%40x:p%2Fw@h:1/v%20h"}.as_uri(ShowPassword::yes) == "amqp://u%40x:p%2Fw@h:1/v%20h");
    CHECK(Connection{"amqp://[::1]:5672//"}.as_uri() == "amqp://guest:**@[::1]:5672//");
    CHECK(Connection{"memory://a"}.as_uri() == "memory://a");
    CHECK(Connection{"memory://"}.as_uri() == "memory://");
    CHECK(Connection{"amqp://h//?heartbeat=10&confirm_publish=false"}.as_uri() ==
          "amqp://guest:**@h:5672//?heartbeat=10&confirm_publish=false");
    CHECK(Connection{"amqp://u:secret@a;amqp://v:geheim@b"}.as_uri() == "amqp://u:**@a:5672//;amqp://v:**@b:5672//");
    std::ostringstream out;
    out << Connection{"amqp://u:secret@h"} << ' ' << kombu::Password{"secret"};
    CHECK(out.str() == "amqp://u:**@h:5672// **");
}

TEST_CASE("malformed URLs are refused without being quoted", "[url]") {
    const char* const bad[] = {"amqp://u:s3cret;w@h/",    "amqp://u:s3cret",         "amqp://u:s3cret@h:port/",
                               "amqp://u:s3cret@h:99999", "amqp://u:s3cret@h:0",     "amqp://u:s3cret@[::1",
                               "amqp://u:s3cret@h#frag",  "amqp://u:s3cret@h/%zz",   "amqp://u:s3cret@h h/",
                               "amqp://u:12/s3cret@h/",   "amqp://u:s3cret@h/%00",   "amqp://u%00:s3cret@h",
                               "amqp://u:s3cret%00@h",    "amqp://u:s3cret@ho%00st", "amqp://u:s3cret@h%0d%0a",
                               "://u:s3cret@h",           "amqp://u:s3c ret@h/",     "amqp://u:s3cret@h/\n",
                               "amqp://u:123?s3cret@h/",  "amqp://u:12;s3cret@h/",   "amqp://u:12?x=s3cret@h"};
    for (const char* url : bad) {
        INFO(url);
        const std::string error = error_of(url);
        CHECK(error != "accepted");
        CHECK(error.find("s3c") == std::string::npos);
    }
    CHECK_THAT(error_of("amqp://u:s3cret;w@h/"), Contains("%3B"));
}

TEST_CASE("U2 sanitize_url masks passwords and leaves other text alone", "[url]") {
    CHECK(kombu::sanitize_url("foo") == "foo");
    CHECK(kombu::sanitize_url("http://u:p@e.com//foo") == "http://u:**@e.com//foo");
    CHECK(kombu::sanitize_url("http://e.com//foo") == "http://e.com//foo");
    CHECK(kombu::sanitize_url("amqp://u:s3cret@h:port") == "amqp://**");
    CHECK(kombu::sanitize_url("amqp://u:p@h/?heartbeat=1;amqp://u2:p2@h2/") ==
          "amqp://u:**@h/?heartbeat=1;amqp://u2:**@h2/");
    CHECK(kombu::sanitize_url("amqp://user:se;cret@host/v") == "amqp://**");
    CHECK(kombu::sanitize_url("amqp://user:12;cret@host/v") == "amqp://**");
    CHECK(kombu::sanitize_url("amqp://h;amqp://u2:p2@h2") == "amqp://h;amqp://u2:**@h2");
}

TEST_CASE("C5 an unknown transport is refused with the known ones and the nearest spelling", "[url][connection]") {
    CHECK_THAT(error_of("ampq://h"),
               Contains("ampq") && Contains("known: amqp, amqps, memory, redis, redis+socket, rediss, sentinel") &&
                   Contains("did you mean amqp?"));
    CHECK_THAT(error_of("memroy://"), Contains("did you mean memory?"));
    CHECK_THAT(error_of("kafka://u:s3cret@h"), Contains("known:") && !Contains("did you mean") && !Contains("s3cret"));
}

TEST_CASE("options are typed, and an invalid one is refused with its name", "[connection]") {
    CHECK(Connection{"amqp://h//?heartbeat=10"}.heartbeat() == std::chrono::seconds{10});
    CHECK(Connection{"amqp://h//?connect_timeout=0.5"}.connect_timeout() == std::chrono::milliseconds{500});
    CHECK(Connection{"amqp://h//?confirm_publish=false"}.transport_options()["confirm_publish"] == false);

    CHECK_THAT(error_of("amqp://h//?foo=bar"), Contains("unknown option: foo") && Contains("connect_timeout"));
    CHECK_THAT(error_of("amqp://h//?heartbaet=1"), Contains("did you mean heartbeat?"));
    CHECK_THAT(error_of("amqp://h//?heartbeat=soon"), Contains("heartbeat"));
    CHECK_THAT(error_of("amqp://h//?heartbeat=-1"), Contains("heartbeat"));
    CHECK_THAT(error_of("amqp://h//?connect_timeout=0"), Contains("connect_timeout"));
    CHECK_THAT(error_of("amqp://h//?confirm_publish=maybe"), Contains("confirm_publish"));
    CHECK_THAT(error_of("amqp://h", {.port = 70000}), Contains("port"));
    CHECK_THAT(error_of("amqp://h?failover_strategy=random"), Contains("failover_strategy"));
    CHECK_THROWS_AS(kombu::FailoverStrategy{"random"}, kombu::ConfigurationError);
    CHECK_THAT(error_of("memory://h", {.ssl = true}), Contains("ssl"));
    CHECK_THAT(error_of("amqp://h", {.login_method = "EXTERNAL"}), Contains("login_method"));
    CHECK_THAT(error_of("amqp://h", {.transport_options = {{"confirm_publsh", true}}}),
               Contains("did you mean confirm_publish?"));
    CHECK_THAT(error_of("amqp://h", {.transport_options = {{"confirm_publish", "yes"}}}), Contains("confirm_publish"));
    CHECK_THAT(error_of("amqp://h", {.transport_options = {{"operation_timeout", -1}}}), Contains("operation_timeout"));
    CHECK_THAT(error_of("amqp://h", {.transport_options = kombu::Json::array()}), Contains("transport_options"));
    CHECK_THAT(error_of("amqp://h/" + std::string(256, 'v')), Contains("virtual_host"));
    CHECK_THAT(error_of("amqp://" + std::string(256, 'u') + "@h"), Contains("userid"));
}

TEST_CASE("options win over the URL", "[connection]") {
    const Connection connection{"amqp://u:p@h:1/v", {.userid = "x", .password = "y", .virtual_host = "z", .port = 2}};
    CHECK(connection.as_uri(ShowPassword::yes) == "amqp://x:y@h:2/z");
}

TEST_CASE("options apply to the alternates too", "[connection]") {
    CHECK(Connection{"amqp://a;amqp://x:y@b", {.userid = "u", .password = "p"}}.as_uri(ShowPassword::yes) ==
          "amqp://u:p@a:5672//;amqp://u:p@b:5672//");
    CHECK(Connection{"amqp://a;amqp://b:2;amqp://c", {.port = 1}}.as_uri() ==
          "amqp://guest:**@a:1//;amqp://guest:**@b:2//;amqp://guest:**@c:1//");
}

TEST_CASE("a password may be any function that returns text", "[connection]") {
    const Connection connection{"amqp://u@h", {.password = [] { return std::string{"x"}; }}};
    CHECK(connection.as_uri(ShowPassword::yes) == "amqp://u:x@h:5672//");
}

TEST_CASE("C3 C4 alternates are complete endpoints, or host names that share the rest", "[connection]") {
    CHECK(Connection{"amqp://u:p@a:1/v;b:2;amqp://c"}.as_uri(ShowPassword::yes) ==
          "amqp://u:p@a:1/v;amqp://u:p@b:2/v;amqp://guest:guest@c:5672//");
    CHECK(Connection{"amqp://a;"}.as_uri() == Connection{"amqp://a"}.as_uri());
    CHECK(Connection{"amqp://a", {.alternates = {"amqp://b", "c"}}} == Connection{"amqp://a;amqp://b;c"});
    CHECK_THAT(error_of("amqp://a;memory://b"), Contains("alternates"));
    CHECK_THAT(error_of("amqp://a;amqp://b//?heartbeat=5"), Contains("alternates") && Contains("heartbeat"));
    CHECK(error_of("amqp://a//?heartbeat=5;amqp://b//?heartbeat=5") == "accepted");
}

TEST_CASE("equal sessions make equal connections", "[connection][identity]") {
    const auto same = [](const Connection& a, const Connection& b) { return a == b && a.hash() == b.hash(); };
    CHECK(same(Connection{"amqp://"}, Connection{"amqp://guest:guest@localhost:5672//"}));
    CHECK(same(Connection{"amqp://"}, Connection{}));
    CHECK(same(Connection{"amqp://h"}, Connection{"pyamqp://h/%2F"}));
    CHECK(same(Connection{"amqp://h"}, Connection{"amqp://h", {.transport_options = {{"confirm_publish", true}}}}));
    CHECK(same(Connection{"amqp://h//?heartbeat=5&connect_timeout=2"},
               Connection{"amqp://h//?connect_timeout=2.0&heartbeat=5"}));
    CHECK(same(Connection{"amqp://u:p@h"}, Connection{"amqp://h", {.userid = "u", .password = "p"}}));
    CHECK(same(Connection{"memory://A"}, Connection{"memory://user@a:123"}));
}

TEST_CASE("everything that changes the session makes another connection", "[connection][identity]") {
    using namespace std::chrono_literals;
    const Connection plain{"amqp://u:p@h:1/v"};
    const Connection others[] = {
        Connection{"amqp://x:p@h:1/v"},
        Connection{"amqp://u:x@h:1/v"},
        Connection{"amqp://u:p@x:1/v"},
        Connection{"amqp://u:p@h:2/v"},
        Connection{"amqp://u:p@h:1/x"},
        Connection{"amqp://u:p@h:1/v;amqp://b"},
        Connection{"amqp://u:p@h:1/v", {.failover_strategy = "shuffle"}},
        Connection{"amqp://u:p@h:1/v", {.heartbeat = 10s}},
        Connection{"amqp://u:p@h:1/v", {.connect_timeout = 1s}},
        Connection{"amqp://u:p@h:1/v", {.transport_options = {{"confirm_publish", false}}}},
        Connection{"amqp://u:p@h:1/v", {.transport_options = {{"operation_timeout", 1}}}},
        Connection{"amqp://u@h:1/v", {.password = kombu::Password::Source{[] { return std::string{"p"}; }}}},
        Connection{"memory://h"},
    };
    for (const Connection& other : others) {
        INFO(other.as_uri());
        CHECK_FALSE(plain == other);
    }
    // Fields that would be equal if they were only concatenated.
    CHECK_FALSE(Connection{"amqp://ab:c@h"} == Connection{"amqp://a:bc@h"});
}

TEST_CASE("C24 a password function is part of the identity and asked only when the password is needed",
          "[connection]") {
    int asked = 0;
    const kombu::Password password{[&asked] {
        ++asked;
        return std::string{"rotating"};
    }};
    const Connection connection{"amqp://u@h", {.password = password}};
    CHECK(connection.as_uri() == "amqp://u:**@h:5672//");
    CHECK(connection == connection.clone());
    CHECK(connection == Connection{"amqp://u@h", {.password = password}});
    CHECK(asked == 0);
    CHECK(connection.as_uri(ShowPassword::yes) == "amqp://u:rotating@h:5672//");
    CHECK(asked == 1);
}
