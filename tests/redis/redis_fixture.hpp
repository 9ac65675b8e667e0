// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/broker.hpp"
#include "support/catch.hpp"
#include "support/log_capture.hpp"
#include "support/messaging_fixture.hpp"
#include "support/raw_redis.hpp"

#include <kombu/kombu.hpp>

#include <chrono>
#include <string>
#include <utility>

/// The first of the ports of support/redis.sh: the port in KOMBU_TEST_URL.
inline int redis_port() { return kombu::Connection{broker_url()}.port(); }

/// A separate broker on the shared server: all its keys begin with a unique prefix.
struct Prefixed {
    std::string prefix = unique("prefix") + ":";
    RawRedis raw{redis_port()};

    kombu::Connection connection(kombu::Json options = kombu::Json::object()) const {
        options["global_keyprefix"] = prefix;
        return kombu::Connection{broker_url(), {.transport_options = std::move(options)}};
    }
    ~Prefixed() {
        for (const kombu::Json& key : raw({"KEYS", prefix + "*"})) raw({"DEL", key.get<std::string>()});
    }
    kombu::Json operator()(std::vector<std::string> command) {
        if (command.size() > 1) command[1].insert(0, prefix);
        return raw(command);
    }
    std::size_t unacked_count() { return (*this)({"HLEN", "unacked"}).get<std::size_t>(); }
    std::size_t length(const std::string& list) { return (*this)({"LLEN", list}).get<std::size_t>(); }
};

inline const std::string separator = "\x06\x16";
