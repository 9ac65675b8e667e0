// SPDX-License-Identifier: BSD-3-Clause
#include "redis/sentinel.hpp"

#include <kombu/error.hpp>

#include "redis/connection.hpp"
#include "redis/error.hpp"
#include "redis/options.hpp"

#include <charconv>
#include <map>
#include <string>
#include <utility>

namespace kombu::redis {
namespace {

using Fields = std::map<std::string, std::string, std::less<>>;

async::Operation<Fields> query_master(Session& session, std::string userid, std::string password, std::string master) {
    if (!password.empty()) {
        if (userid.empty())
            session.send({"AUTH", password});
        else
            session.send({"AUTH", userid, password});
        const Reply reply = co_await session.await_reply();
        session.wipe_output();
        throw_if_error(reply, session.peer());
    }
    session.send({"SENTINEL", "MASTER", master});
    const Reply reply = co_await session.await_reply(Reply::Type::array, "SENTINEL MASTER");
    Fields fields;
    for (std::size_t i = 0; i + 1 < reply.elements.size(); i += 2)
        fields[reply.elements[i].text] = reply.elements[i + 1].text;
    co_return fields;
}

std::size_t field_number(const Fields& fields, std::string_view name) {
    const auto found = fields.find(name);
    std::size_t value = 0;
    if (found != fields.end())
        std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
    return value;
}

std::string field_text(const Fields& fields, std::string_view name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string{} : found->second;
}

/// Throws ConnectionError unless the sentinel reports a usable master.
void check_master(const Fields& fields, const Options& options, const std::string& peer) {
    const std::string flags = field_text(fields, "flags");
    const auto fail = [&](const std::string& why) {
        throw ConnectionError(peer + ": no usable master " + options.master_name + ": " + why);
    };
    if (field_text(fields, "ip").empty() || field_number(fields, "port") == 0 || field_number(fields, "port") > 65535)
        fail("the sentinel reports no valid address");
    if (flags.find("master") == std::string::npos) fail("the sentinel reports it as " + flags.substr(0, 100));
    if (flags.find("_down") != std::string::npos) fail("the sentinel reports that it is down");
    if (field_number(fields, "num-other-sentinels") < options.min_other_sentinels)
        fail("the sentinel sees fewer than " + std::to_string(options.min_other_sentinels) + " others");
}

}  // namespace

async::Operation<std::shared_ptr<TransportConnection>> connect_to_master(const Endpoint& sentinel,
                                                                         const ConnectionParameters& parameters,
                                                                         Deadline deadline) {
    const Options options = parse_options(parameters.transport_options);
    const std::optional<SslOptions> ssl = options.sentinel_ssl ? parameters.ssl : std::nullopt;
    net::Stream stream{stream_target(sentinel.hostname, sentinel.port, options, ssl)};
    Session session{stream.peer(), options};
    net::SessionDriver<Session> driver{stream, session};
    Fields fields;
    try {
        co_await stream.connect(deadline);
        auto query =
            query_master(session, options.sentinel_userid, options.sentinel_password.reveal(), options.master_name);
        fields = co_await driver.run(std::move(query), deadline);
    } catch (const ChannelError& error) {
        throw ConnectionError(error.what());
    }
    check_master(fields, options, stream.peer());
    stream.close();

    Endpoint master = sentinel;
    master.hostname = field_text(fields, "ip");
    master.port = static_cast<std::uint16_t>(field_number(fields, "port"));
    auto connection = co_await RedisConnection::open(master, parameters, deadline, true);
    co_return connection;
}

}  // namespace kombu::redis
