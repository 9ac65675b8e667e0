// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/catch.hpp"

#include <cstdio>
#include <string>

/// The result of an Erlang expression that the broker of the tests evaluates. Fails when the expression does.
inline std::string in_broker(const std::string& expression) {
    const std::string command = std::string{KOMBU_TEST_RABBITMQ} + " '" + expression + "'";
    std::FILE* const pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe);
    std::string text;
    char buffer[4096];
    while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, size);
    REQUIRE(::pclose(pipe) == 0);
    return text;
}

/// Makes the broker close every connection, as for maintenance: also one that was opened just now, and also when
/// another one ends meanwhile, which makes its own call fail.
inline void close_connections() {
    in_broker(
        "pg_local:sync(), "
        "[catch rabbit_networking:close_connection(C, <<\"maintenance\">>) || C <- rabbit_networking:connections()]");
}
