// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace kombu::detail {

/// A hash table that is changed under a lock. Each change becomes visible by one store, so that a forked child, where
/// the lock may be held for ever, can copy the table of its parent at any moment.
///
/// An entry has a link for each of two tables: when the number of buckets grows, the entries are linked in the other
/// table, which then takes the place of the first one.
template <class Key, class Value>
class ForkSafeMap {
public:
    std::unique_lock<std::mutex> lock() const { return std::unique_lock{state().mutex}; }

    // -- with the lock

    std::size_t size() const { return state().size; }
    /// Null when there is none.
    Value* find(const Key& key) const {
        Entry* const found = state().find(key);
        return found ? &found->value : nullptr;
    }
    /// There must be no such key. Changes nothing when it throws.
    Value& insert(const Key& key, Value value) { return state().add(key, std::move(value)).value; }
    /// \return the value; nothing when there was no such key
    std::optional<Value> extract(const Key& key) {
        State& state = this->state();
        return state.unlink(state.table.load(std::memory_order_relaxed)->bucket(key), key);
    }
    /// Inserts the value, or puts it in the place of another. Changes nothing when it throws.
    /// \return the previous value; nothing when there was no such key
    std::optional<Value> set(const Key& key, Value value) {
        State& state = this->state();
        Entry& added = state.add(key, std::move(value));
        // A fork in between copies the new value.
        return state.unlink(added.link(*state.table.load(std::memory_order_relaxed)), key);
    }
    /// Calls `visit(key, value)`, which must not change the table.
    template <class Visit>
    void for_each(Visit visit) const {
        state().for_each(visit);
    }

    /// As for_each, without the lock, in a destructor. A forked child that has not used the table has no entries.
    template <class Visit>
    void for_each_of_this_process(Visit visit) const noexcept {
        if (const State* const state = state_.get_if_of_this_process()) state->for_each(visit);
    }

private:
    struct Table;
    struct Entry {
        Entry(const Key& entry_key, Value entry_value) : key(entry_key), value(std::move(entry_value)) {}
        const Key key;
        Value value;
        std::array<std::atomic<Entry*>, 2> links{};

        std::atomic<Entry*>& link(const Table& table) noexcept { return links[table.index]; }
        Entry* next(const Table& table) const noexcept { return links[table.index].load(std::memory_order_acquire); }
    };
    struct Table {
        Table(std::size_t table_index, std::size_t count)
            : index(table_index), bucket_count(count), buckets(new std::atomic<Entry*>[count] {}) {}
        const std::size_t index;  // of the links that belong to this table: 0 or 1
        const std::size_t bucket_count;
        const std::unique_ptr<std::atomic<Entry*>[]> buckets;

        std::atomic<Entry*>& bucket(const Key& key) const {
            // The standard library's hash of a number is the number.
            const std::size_t hash = std::hash<Key>{}(key)*std::size_t{0x9e3779b97f4a7c15};
            return buckets[(hash ^ hash >> 32) & (bucket_count - 1)];
        }
    };
    struct State {
        static constexpr std::size_t first_bucket_count = 8;

        State() : table(new Table{0, first_bucket_count}) {}
        /// `inherited`: the parent's, or null.
        explicit State(const State* inherited) : State() {
            if (!inherited) return;
            inherited->for_each([this](const Key& key, const Value& value) {
                if (!find(key)) add(key, value);  // of two during a set() the first is the new one
            });
        }
        State(const State&) = delete;
        State& operator=(const State&) = delete;
        ~State() {
            Table* const last = table.load(std::memory_order_relaxed);
            for (std::size_t i = 0; i < last->bucket_count; ++i)
                for (Entry* entry = last->buckets[i].load(std::memory_order_relaxed); entry;)
                    delete std::exchange(entry, entry->next(*last));
            delete last;
        }

        template <class Visit>
        void for_each(Visit visit) const {
            const Table& current = *table.load(std::memory_order_acquire);
            for (std::size_t i = 0; i < current.bucket_count; ++i)
                for (Entry* entry = current.buckets[i].load(std::memory_order_acquire); entry;
                     entry = entry->next(current))
                    visit(entry->key, entry->value);
        }
        Entry* find(const Key& key) const {
            const Table& current = *table.load(std::memory_order_relaxed);
            Entry* entry = current.bucket(key).load(std::memory_order_relaxed);
            while (entry && !(entry->key == key)) entry = entry->next(current);
            return entry;
        }
        Entry& add(const Key& key, Value value) {
            auto created = std::make_unique<Entry>(key, std::move(value));
            if (size == table.load(std::memory_order_relaxed)->bucket_count) grow();
            const Table& current = *table.load(std::memory_order_relaxed);
            std::atomic<Entry*>& bucket = current.bucket(key);
            created->link(current).store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
            bucket.store(created.get(), std::memory_order_release);
            ++size;
            return *created.release();
        }
        /// Removes the first entry of this key, from this link on.
        std::optional<Value> unlink(std::atomic<Entry*>& from, const Key& key) {
            const Table& current = *table.load(std::memory_order_relaxed);
            for (std::atomic<Entry*>* link = &from; Entry* const entry = link->load(std::memory_order_relaxed);
                 link = &entry->link(current)) {
                if (!(entry->key == key)) continue;
                link->store(entry->next(current), std::memory_order_release);
                --size;
                std::optional<Value> value{std::move(entry->value)};
                delete entry;
                return value;
            }
            return std::nullopt;
        }
        void grow() {
            const Table* const old = table.load(std::memory_order_relaxed);
            auto grown = std::make_unique<Table>(1 - old->index, 2 * old->bucket_count);
            for (std::size_t i = 0; i < old->bucket_count; ++i)
                for (Entry* entry = old->buckets[i].load(std::memory_order_relaxed); entry; entry = entry->next(*old)) {
                    std::atomic<Entry*>& bucket = grown->bucket(entry->key);
                    entry->link(*grown).store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
                    bucket.store(entry, std::memory_order_relaxed);
                }
            table.store(grown.release(), std::memory_order_release);
            delete old;
        }

        std::mutex mutex{};
        std::atomic<Table*> table;
        std::size_t size = 0;
    };

    State& state() const {
        return state_.get([](const State* inherited) { return State{inherited}; });
    }

    mutable ForkLocal<State> state_;
};

}  // namespace kombu::detail
