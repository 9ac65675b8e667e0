// SPDX-License-Identifier: BSD-3-Clause
// The files of a spool: each queue is a directory, each message a file, whose first line has its properties in JSON and
// whose rest is the body. Processes share the directory: to take a message is to rename its file, which only one can
// do.
#pragma once

#include <kombu/transport.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace spool {

namespace fs = std::filesystem;
using kombu::Json;

/// A message that was taken: where its file is now, and where it came from.
struct Taken {
    fs::path file{};
    fs::path queue{};
};

class Spool {
public:
    /// Gives back what processes have taken that are no more.
    explicit Spool(fs::path root) : root_(std::move(root)) {
        translate([&] {
            fs::create_directories(root_ / ".new");
            fs::create_directories(own_folder());
            for (const auto& process : fs::directory_iterator{root_ / ".taken"})
                if (const int pid = std::atoi(process.path().filename().c_str()); ::kill(pid, 0) < 0 && errno == ESRCH)
                    for (const auto& file : fs::recursive_directory_iterator{process.path()})
                        if (file.is_regular_file())
                            give_back({file.path(), root_ / file.path().parent_path().filename()});
        });
    }

    void declare(std::string_view queue) const {
        translate([&] { fs::create_directory(path_of(queue)); });
    }
    bool exists(std::string_view queue) const { return fs::is_directory(path_of(queue)); }
    void check_exists(std::string_view queue) const {
        if (!exists(queue)) throw kombu::ChannelError("NOT_FOUND - no queue '" + std::string{queue} + "'", 404);
    }
    /// The files of the messages, the oldest first. For many thousands of messages it would need an index.
    std::vector<fs::path> messages(std::string_view queue) const {
        check_exists(queue);
        std::vector<fs::path> files;
        translate([&] {
            for (const auto& entry : fs::directory_iterator{path_of(queue)})
                if (entry.is_regular_file()) files.push_back(entry.path());
        });
        std::ranges::sort(files);
        return files;
    }
    std::uint32_t purge(std::string_view queue) const {
        std::uint32_t count = 0;
        for (const fs::path& file : messages(queue)) count += remove(file) ? 1 : 0;
        return count;
    }
    void erase(std::string_view queue) const {
        translate([&] { fs::remove_all(path_of(queue)); });
    }

    /// Stores a message: when this returns, it survives a crash of the machine.
    void put(std::string_view queue, const kombu::OutgoingMessage& message) const {
        static std::atomic<unsigned> last{0};
        char name[64];  // in the order of time
        std::snprintf(name, sizeof name, "%020lld-%d-%08u",
                      static_cast<long long>(std::chrono::system_clock::now().time_since_epoch().count()), ::getpid(),
                      ++last);
        const fs::path file = root_ / ".new" / name;
        write(file, to_json(message.metadata->properties).dump() + '\n', message.body);
        std::error_code failed;
        fs::rename(file, path_of(queue) / name, failed);
        if (!failed) return;
        remove(file);
        throw kombu::ChannelError("NOT_FOUND - no queue '" + std::string{queue} + "'", 404);
    }
    /// The oldest message; null when there is none.
    std::unique_ptr<kombu::Delivery> take(std::string_view queue, Taken& taken) const {
        for (const fs::path& file : messages(queue)) {
            taken = {own_folder() / queue / file.filename(), path_of(queue)};
            translate([&] { fs::create_directories(taken.file.parent_path()); });
            std::error_code failed;
            fs::rename(file, taken.file, failed);
            if (failed) continue;  // another process was faster
            auto delivery = std::make_unique<kombu::Delivery>();
            delivery->info.routing_key = queue;
            delivery->info.redelivered = file.native().ends_with(again);
            if (!read(taken.file, *delivery))  // it can be settled, and says why it cannot be read
                delivery->header_error = "the file " + taken.file.string() + " is not a message";
            return delivery;
        }
        return nullptr;
    }
    static bool remove(const fs::path& file) noexcept {
        std::error_code ignored;
        return fs::remove(file, ignored);
    }
    static void give_back(const Taken& message) noexcept {
        std::error_code ignored;  // the queue may have been deleted
        std::string name = message.file.filename();
        if (!name.ends_with(again)) name += again;
        fs::rename(message.file, message.queue / name, ignored);
    }

private:
    static constexpr std::string_view again = "-again";
    static constexpr std::size_t max_head = 64 << 10, max_size = 64 << 20;
    static constexpr int max_depth = 64;

    fs::path own_folder() const { return root_ / ".taken" / std::to_string(::getpid()); }
    fs::path path_of(std::string_view queue) const {
        if (queue.empty() || queue.front() == '.' || queue.find('/') != std::string_view::npos || queue.size() > 200)
            throw kombu::ChannelError("a queue of a spool cannot be named '" + std::string{queue} + "'", 403);
        return root_ / queue;
    }
    /// Runs a step. What the file system refuses is an error of the connection.
    template <class Step>
    static void translate(Step step) {
        try {
            step();
        } catch (const fs::filesystem_error& error) {
            throw kombu::ConnectionError(error.what());
        }
    }
    static void write(const fs::path& path, std::string_view head, std::string_view body) {
        const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        bool is_written = file >= 0;
        for (std::string_view rest : {head, body})
            while (is_written && !rest.empty()) {
                const ssize_t count = ::write(file, rest.data(), rest.size());
                is_written = count > 0 || errno == EINTR;
                rest.remove_prefix(count > 0 ? static_cast<std::size_t>(count) : 0);
            }
        is_written = is_written && ::fsync(file) == 0;
        const int error = errno;
        if (file >= 0) ::close(file);
        if (is_written) return;
        remove(path);
        throw kombu::ConnectionError(path.string() + ": " + std::generic_category().message(error));
    }
    /// False when the file is no message.
    static bool read(const fs::path& path, kombu::Delivery& delivery) {
        std::error_code failed;
        if (fs::file_size(path, failed) > max_size || failed) return false;
        std::ifstream file{path, std::ios::binary};
        std::string head;
        for (char byte; file.get(byte) && byte != '\n' && head.size() < max_head;) head += byte;
        bool is_too_deep = false;
        const Json json = Json::parse(
            head,
            [&](int depth, Json::parse_event_t, Json&) {
                is_too_deep |= depth > max_depth;
                return !is_too_deep;
            },
            false);
        if (is_too_deep || !json.is_object()) return false;
        delivery.body.assign(std::istreambuf_iterator<char>{file}, {});
        return from_json(json, delivery.properties);
    }

    /// Calls `visit(name, field)` for each property that is text.
    template <class Properties, class Visit>
    static void for_each_text(Properties& properties, Visit visit) {
        visit("content_type", properties.content_type);
        visit("content_encoding", properties.content_encoding);
        visit("correlation_id", properties.correlation_id);
        visit("reply_to", properties.reply_to);
        visit("message_id", properties.message_id);
        visit("type", properties.type);
        visit("user_id", properties.user_id);
        visit("app_id", properties.app_id);
    }
    static Json to_json(const kombu::Properties& properties) {
        Json json = {{"headers", properties.headers}};
        for_each_text(properties, [&](const char* name, const auto& field) {
            if (field) json[name] = *field;
        });
        if (properties.timestamp) json["timestamp"] = *properties.timestamp;
        return json;
    }
    static bool from_json(const Json& json, kombu::Properties& properties) {
        bool is_valid = json.contains("headers") && json["headers"].is_object();
        if (is_valid) properties.headers = json["headers"];
        for_each_text(properties, [&](const char* name, auto& field) {
            if (!json.contains(name)) return;
            is_valid = is_valid && json[name].is_string();
            if (is_valid) field = json[name].template get<std::string>();
        });
        if (json.contains("timestamp") && json["timestamp"].is_number_unsigned())
            properties.timestamp = json["timestamp"];
        return is_valid;
    }

    const fs::path root_;
};

}  // namespace spool
