// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/scripted_peer.hpp"

#include <string>

// What scripted peers need to play a Redis.

/// Receives one command with its arguments, as sent. Returns "" when the client has closed the connection.
inline std::string receive_command(PeerSocket& peer) {
    const auto line = [&] {
        std::string text;
        while (!text.ends_with("\r\n")) {
            const std::string next = peer.receive(1);
            if (next.empty()) return std::string{};
            text += next;
        }
        return text;
    };
    std::string command = line();
    if (command.empty()) return {};
    for (int n = std::stoi(command.substr(1)); n > 0; --n) {
        const std::string header = line();
        if (header.empty()) return {};
        command += header + peer.receive(std::stoul(header.substr(1)) + 2);
    }
    return command;
}

/// Answers one command as a server does that is empty. Returns the command.
inline std::string answer_command(PeerSocket& peer) {
    std::string command = receive_command(peer);
    const auto has = [&](const char* word) { return command.find(word) != std::string::npos; };
    if (has("\r\nINFO\r\n"))
        peer.send("$17\r\ncluster_enabled:0\r\n");
    else if (has("\r\nPING\r\n"))
        peer.send("+PONG\r\n");
    else if (has("acl_check_cmd") || has("\r\nEVALSHA\r\n"))
        peer.send("*0\r\n");
    else if (!command.empty())
        peer.send("+OK\r\n");
    return command;
}

/// Answers the log-in of a client.
inline void answer_login(PeerSocket& peer) {
    for (std::string command = answer_command(peer); !command.empty(); command = answer_command(peer))
        if (command.find("EVALSHA") != std::string::npos) return;
}
