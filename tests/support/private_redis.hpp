// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

/// A Redis server for one test alone, which may kill, pause and misconfigure it.
class PrivateRedis {
public:
    explicit PrivateRedis(std::string options = "") : options_(std::move(options)) {
        run(command("kill"));
        std::filesystem::remove(std::string{KOMBU_TEST_REDIS_DIR} + "/private/dump.rdb");
        start();
    }
    PrivateRedis(const PrivateRedis&) = delete;
    PrivateRedis& operator=(const PrivateRedis&) = delete;
    ~PrivateRedis() { std::system(command("kill").c_str()); }

    int port() const { return KOMBU_TEST_PRIVATE_PORT; }
    std::string url() const { return "redis://127.0.0.1:" + std::to_string(port()) + "/0"; }
    void start() const { run(command("start") + ' ' + std::to_string(port()) + " --save '' " + options_); }
    void kill() const { run(command("kill")); }
    void pause() const { run(command("pause")); }
    void resume() const { run(command("resume")); }

private:
    std::string command(const std::string& action) const {
        return std::string{KOMBU_TEST_REDIS_SCRIPT} + ' ' + action + ' ' + KOMBU_TEST_REDIS_DIR + " private";
    }
    static void run(const std::string& line) {
        if (std::system(line.c_str()) != 0) throw std::runtime_error(line + " failed");
    }
    std::string options_;
};
