// SPDX-License-Identifier: BSD-3-Clause
// Queues in an SQLite database, which processes of one machine share. What one process has taken is hidden from the
// others for a time; when that passes without a settlement, the message comes again.
#pragma once

#include <kombu/error.hpp>
#include <kombu/transport.hpp>

#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace sqlite_transport {

using kombu::Json;

class Store {
public:
    /// \param visibility_timeout  for how long a taken message is hidden
    Store(const std::string& file, std::chrono::milliseconds visibility_timeout)
        : visibility_timeout_(visibility_timeout) {
        sqlite3* database = nullptr;
        const int code =
            ::sqlite3_open_v2(file.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
        database_.reset(database);
        if (code != SQLITE_OK) throw kombu::ConnectionError(file + ": " + ::sqlite3_errstr(code));
        ::sqlite3_busy_timeout(database, 5000);
        for (const char* sql :
             {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
              "CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY) WITHOUT ROWID",
              "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT, "
              "properties TEXT, body BLOB, hidden_until INTEGER DEFAULT 0, deliveries INTEGER DEFAULT 0)",
              "CREATE INDEX IF NOT EXISTS messages_of_queue ON messages (queue, id)"})
            Statement{*this, sql}.run();
    }
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    /// SQLite forbids to use a connection after a fork, and even to close it there.
    ~Store() {
        if (is_inherited()) (void)database_.release();
    }

    bool is_inherited() const noexcept { return ::getpid() != owner_; }

    void declare(std::string_view queue) {
        if (queue.empty()) throw kombu::ChannelError("PRECONDITION_FAILED - a queue must have a name", 406);
        Statement{*this, "INSERT OR IGNORE INTO queues VALUES (?)", queue}.run();
    }
    bool exists(std::string_view queue) {
        return Statement{*this, "SELECT 1 FROM queues WHERE name = ?", queue}.next();
    }
    void check_exists(std::string_view queue) {
        if (!exists(queue)) throw kombu::ChannelError("NOT_FOUND - no queue '" + std::string{queue} + "'", 404);
    }
    /// The number of messages that can be taken.
    std::uint32_t size(std::string_view queue) {
        Statement statement{*this, "SELECT COUNT(*) FROM messages WHERE queue = ? AND hidden_until <= ?", queue, now()};
        return statement.next() ? static_cast<std::uint32_t>(statement.integer(0)) : 0;
    }
    std::uint32_t purge(std::string_view queue) {
        check_exists(queue);
        Statement{*this, "DELETE FROM messages WHERE queue = ? AND hidden_until <= ?", queue, now()}.run();
        return changes();
    }
    /// False when it must be empty, and is not.
    bool erase(std::string_view queue, bool if_empty) {
        const Transaction transaction{*this};
        if (if_empty && Statement{*this, "SELECT 1 FROM messages WHERE queue = ?", queue}.next()) return false;
        Statement{*this, "DELETE FROM messages WHERE queue = ?", queue}.run();
        Statement{*this, "DELETE FROM queues WHERE name = ?", queue}.run();
        return true;
    }
    /// Stores a message. False when there is no such queue.
    bool put(std::string_view queue, std::string_view properties, std::string_view body) {
        Statement statement{
            *this, "INSERT INTO messages (queue, properties, body) SELECT name, ?2, ?3 FROM queues WHERE name = ?1",
            queue, properties};
        statement.bind_blob(3, body);
        statement.run();
        return changes() == 1;
    }
    /// The oldest message of a queue, which nobody else has; null when there is none. Its delivery tag is not set.
    std::unique_ptr<kombu::Delivery> take(std::string_view queue, std::int64_t& id) {
        Statement statement{
            *this,
            "UPDATE messages SET hidden_until = ?2, deliveries = deliveries + 1 WHERE id = (SELECT id FROM "
            "messages WHERE queue = ?1 AND hidden_until <= ?3 ORDER BY id LIMIT 1) "
            "RETURNING id, properties, body, deliveries",
            queue, now() + visibility_timeout_.count(), now()};
        if (!statement.next()) return nullptr;
        auto delivery = std::make_unique<kombu::Delivery>();
        id = statement.integer(0);
        delivery->body = statement.bytes(2);
        delivery->info.routing_key = queue;
        delivery->info.redelivered = statement.integer(3) > 1;
        if (!read(statement.bytes(1), delivery->properties))  // it can be settled, and says why it cannot be read
            delivery->header_error = "message " + std::to_string(id) + " of the database is not one of ours";
        statement.run();
        return delivery;
    }
    void remove(std::int64_t id) { Statement{*this, "DELETE FROM messages WHERE id = ?", id}.run(); }
    void give_back(std::int64_t id) { Statement{*this, "UPDATE messages SET hidden_until = 0 WHERE id = ?", id}.run(); }

    static std::string write(const kombu::Properties& properties) {
        Json json = {{"headers", properties.headers}};
        for_each_text(properties, [&](const char* name, const auto& field) {
            if (field) json[name] = *field;
        });
        if (properties.delivery_mode) json["delivery_mode"] = *properties.delivery_mode;
        if (properties.timestamp) json["timestamp"] = *properties.timestamp;
        return json.dump();
    }

private:
    class Statement {
    public:
        template <class... Values>
        Statement(Store& store, const char* sql, const Values&... values) : database_(store.database_.get()) {
            check(::sqlite3_prepare_v2(database_, sql, -1, &statement_, nullptr));
            int index = 0;
            (bind(++index, values), ...);
        }
        Statement(const Statement&) = delete;
        Statement& operator=(const Statement&) = delete;
        ~Statement() { ::sqlite3_finalize(statement_); }

        /// Whether there is a row.
        bool next() {
            const int code = ::sqlite3_step(statement_);
            if (code != SQLITE_ROW && code != SQLITE_DONE) check(code);
            return code == SQLITE_ROW;
        }
        void run() {
            while (next()) {
            }
        }
        void bind_blob(int index, std::string_view bytes) {
            check(::sqlite3_bind_blob64(statement_, index, bytes.data() ? bytes.data() : "", bytes.size(),
                                        SQLITE_STATIC));
        }
        std::int64_t integer(int column) const { return ::sqlite3_column_int64(statement_, column); }
        std::string_view bytes(int column) const {
            const void* const data = ::sqlite3_column_blob(statement_, column);
            return {static_cast<const char*>(data),
                    static_cast<std::size_t>(::sqlite3_column_bytes(statement_, column))};
        }

    private:
        void bind(int index, std::string_view text) {
            check(::sqlite3_bind_text64(statement_, index, text.data() ? text.data() : "", text.size(), SQLITE_STATIC,
                                        SQLITE_UTF8));
        }
        void bind(int index, std::int64_t number) { check(::sqlite3_bind_int64(statement_, index, number)); }
        void check(int code) const {
            if (code == SQLITE_NOMEM) throw std::bad_alloc{};
            if (code == SQLITE_TOOBIG) throw kombu::ChannelError("the message is too large for the database", 311);
            if (code != SQLITE_OK)
                throw kombu::ConnectionError(std::string{"the database: "} + ::sqlite3_errmsg(database_));
        }
        sqlite3* database_;
        sqlite3_stmt* statement_ = nullptr;
    };
    struct Transaction {
        explicit Transaction(Store& of) : store(of) { Statement{store, "BEGIN IMMEDIATE"}.run(); }
        ~Transaction() { ::sqlite3_exec(store.database_.get(), "COMMIT", nullptr, nullptr, nullptr); }
        Store& store;
    };
    struct Close {
        void operator()(sqlite3* database) const { ::sqlite3_close(database); }
    };

    static std::int64_t now() {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
            .count();
    }
    std::uint32_t changes() const { return static_cast<std::uint32_t>(::sqlite3_changes(database_.get())); }

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
    /// False when the text has no properties.
    static bool read(std::string_view text, kombu::Properties& properties) {
        constexpr int max_depth = 64;
        bool is_too_deep = false;
        const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
            return !(is_too_deep |= depth > max_depth);
        };
        const Json json = Json::parse(text, limit_depth, false);
        if (is_too_deep || !json.is_object() || !json.contains("headers") || !json["headers"].is_object()) return false;
        properties.headers = json["headers"];
        bool is_valid = true;
        for_each_text(properties, [&](const char* name, auto& field) {
            if (!json.contains(name)) return;
            is_valid = is_valid && json[name].is_string();
            if (is_valid) field = json[name].template get<std::string>();
        });
        if (json.contains("delivery_mode") && json["delivery_mode"].is_number_integer())
            properties.delivery_mode = json["delivery_mode"];
        if (json.contains("timestamp") && json["timestamp"].is_number_unsigned())
            properties.timestamp = json["timestamp"];
        return is_valid;
    }

    const std::chrono::milliseconds visibility_timeout_;
    const pid_t owner_ = ::getpid();
    std::unique_ptr<sqlite3, Close> database_{};
};

}  // namespace sqlite_transport
