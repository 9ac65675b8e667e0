// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

/// A Python program that answers each line of JSON with a line of JSON. Runs Debian's Python, for Debian's packages.
class PythonPeer {
public:
    explicit PythonPeer(std::vector<std::string> arguments) {
        int to[2], from[2];
        if (::pipe(to) != 0 || ::pipe(from) != 0) throw std::runtime_error("no pipe");
        pid_ = ::fork();
        if (pid_ < 0) throw std::runtime_error("no process");
        if (pid_ == 0) {
            ::dup2(to[0], 0);
            ::dup2(from[1], 1);
            for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
            std::vector<char*> words{const_cast<char*>("/usr/bin/python3")};
            for (std::string& argument : arguments) words.push_back(argument.data());
            words.push_back(nullptr);
            ::execv(words[0], words.data());
            ::_exit(127);
        }
        ::close(to[0]);
        ::close(from[1]);
        out_ = ::fdopen(to[1], "w");
        in_ = ::fdopen(from[0], "r");
        read_reply();
    }
    PythonPeer(const PythonPeer&) = delete;
    PythonPeer& operator=(const PythonPeer&) = delete;
    ~PythonPeer() { kill(); }

    kombu::Json operator()(const kombu::Json& command) {
        std::fprintf(out_, "%s\n", command.dump().c_str());
        std::fflush(out_);
        kombu::Json result = read_reply();
        if (result.contains("error")) throw std::runtime_error(result["error"].get<std::string>());
        return result;
    }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
        std::fclose(out_);
        std::fclose(in_);
    }

private:
    kombu::Json read_reply() {
        std::string line;
        for (int c = std::fgetc(in_); c != '\n'; c = std::fgetc(in_)) {
            if (c == EOF) throw std::runtime_error("the Python peer has exited: is python3-kombu installed?");
            line += static_cast<char>(c);
        }
        return kombu::Json::parse(line);
    }

    pid_t pid_ = -1;
    std::FILE* out_ = nullptr;
    std::FILE* in_ = nullptr;
};
