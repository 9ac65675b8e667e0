// SPDX-License-Identifier: BSD-3-Clause
// A pool of something else: connections to an SQLite database, shared by threads that count words. It needs kombu::pool
// only, which is header-only and has no dependency.
//
//     sqlite_pool FILE [THREADS]
#include <kombu/pool/resource_pool.hpp>

#include <sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

/// One connection to the database.
class Database {
public:
    explicit Database(const std::string& path) {
        if (::sqlite3_open(path.c_str(), &handle_) != SQLITE_OK) {
            const std::string why = ::sqlite3_errmsg(handle_);
            ::sqlite3_close(handle_);
            throw std::runtime_error(path + ": " + why);
        }
        ::sqlite3_busy_timeout(handle_, 5000);
        execute("PRAGMA journal_mode=WAL");
    }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database() { ::sqlite3_close(handle_); }

    void execute(const std::string& sql) {
        char* text = nullptr;
        if (::sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, &text) == SQLITE_OK) return;
        const std::string why = text ? text : "unknown error";
        ::sqlite3_free(text);
        throw std::runtime_error(why);
    }
    long number(const std::string& sql) {
        long value = 0;
        const auto read = [](void* to, int, char** columns, char**) {
            *static_cast<long*>(to) = columns[0] ? std::atol(columns[0]) : 0;
            return 0;
        };
        ::sqlite3_exec(handle_, sql.c_str(), read, &value, nullptr);
        return value;
    }
    bool is_in_transaction() const { return ::sqlite3_get_autocommit(handle_) == 0; }

private:
    sqlite3* handle_ = nullptr;
};

kombu::ResourcePool<Database> make_pool(const std::string& path, std::size_t limit) {
    kombu::ResourceFactory<Database> factory;
    factory.create = [path](const kombu::Acquisition&) { return std::make_shared<Database>(path); };
    // A holder that left a transaction open, by an exception or by mistake, must not pass it on.
    factory.recycle = [](Database& database, bool) {
        if (database.is_in_transaction()) database.execute("ROLLBACK");
        return true;
    };
    factory.resource_name = "database connection";
    return kombu::ResourcePool<Database>{std::move(factory),
                                         {.limit = limit, .idle_timeout = 60s, .leak_threshold = 10s, .name = "words"}};
}

void count_words(kombu::ResourcePool<Database>& pool, int words) {
    for (int i = 0; i < words; ++i) {
        auto database = pool.acquire({.block = true, .timeout = 20s});
        database->execute("BEGIN IMMEDIATE; UPDATE words SET count = count + 1; COMMIT");
    }
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::cerr << "usage: sqlite_pool FILE [THREADS]\n";
        return 2;
    }
    const int threads = argc > 2 ? std::atoi(argv[2]) : 8;
    auto pool = make_pool(argv[1], 3);
    pool.acquire()->execute(
        "CREATE TABLE IF NOT EXISTS words (count INTEGER); DELETE FROM words; "
        "INSERT INTO words VALUES (0)");
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back([&] { count_words(pool, 50); });
    for (std::thread& worker : workers) worker.join();

    try {  // what an exception interrupts is rolled back before the next holder comes
        auto database = pool.acquire();
        database->execute("BEGIN; UPDATE words SET count = 0");
        throw std::runtime_error("interrupted");
    } catch (const std::runtime_error& error) {
        std::cout << error.what() << '\n';
    }
    const kombu::PoolStats stats = pool.stats();
    std::cout << pool.acquire()->number("SELECT count FROM words") << " words, " << stats.created
              << " connections made\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "sqlite_pool: " << error.what() << '\n';
    return 1;
}
