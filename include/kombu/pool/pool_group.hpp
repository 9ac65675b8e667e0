// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/pool/detail/key_fingerprint.hpp>
#include <kombu/pool/detail/pool_access.hpp>
#include <kombu/pool/detail/resize_participant.hpp>
#include <kombu/pool/group_registry.hpp>
#include <kombu/pool/options.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kombu {

/// One pool for each distinct key, created at its first use, exactly once, also when several threads ask at once.
///
/// `Key` needs std::hash and ==. A repeated look-up on the same thread costs a few nanoseconds when the key is a
/// Connection, text of up to 96 characters, a number, or has a `std::uint64_t fingerprint() const noexcept` that
/// differs between keys that are not equal. `Pool` is a ResourcePool or derived from one.
///
/// \par Thread safety
/// Every member may be called from any thread at any time, except the destructor.
/// \par Lifetime
/// A reference obtained from a group stays valid until the group is destroyed or that key is erased. Leases outlive
/// both.
/// \par Fork
/// A child has the same pools, empty.
/// \par Kombu
/// `kombu.pools.PoolGroup`
template <class Key, class Pool>
class PoolGroup : public GroupBase {
public:
    /// Creates the pool of a key with these options, whose limit is that of the group or of the key. Called without the
    /// group's lock, so it may use other groups.
    using Create = std::function<std::unique_ptr<Pool>(const Key&, const PoolOptions&)>;

    /// \param create  creates a pool
    /// \param limit  of each pool
    /// \param registry  required when the limit follows it
    /// \param options  of every pool without options of its own (see configure()); their limit is not used
    /// \throws ConfigurationError  when `create` is empty, or the limit follows a registry and there is none
    explicit PoolGroup(Create create, GroupLimit limit = 0, GroupRegistry* registry = nullptr, PoolOptions options = {})
        : create_(std::move(create)),
          follows_(limit.follows()),
          options_(std::move(options)),
          state_({limit.value(), {}, {}, {}}) {
        if (!create_) throw ConfigurationError("PoolGroup: create is not set");
        if (!follows_) return;
        if (!registry) throw ConfigurationError("PoolGroup: limit follows a registry, but none was given");
        registry->follow_limit(*this);
    }

    ~PoolGroup() {
        leave_registry();
        // In a forked child the parent's version keeps the pools from being destroyed.
        for (const auto& [key, entry] : entries())
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->close();
    }

    /// The pool of this key.
    /// \throws whatever `create` throws; the next call then tries again
    Pool& operator[](const Key& key) {
        const std::uint64_t version = version_.load(std::memory_order_acquire);
        auto& recent = detail::LookupCache<Key, Pool>::of(version, key);
        if (recent.version == version && recent.key.matches(key)) [[likely]]
            return *recent.pool;
        Pool& pool = *make_or_find(key)->published.load(std::memory_order_acquire);
        recent.version = 0;
        if (recent.key.store(key)) {
            recent.pool = &pool;
            recent.version = version;
        }
        return pool;
    }

    /// The pool of this key, kept alive by the caller even if the key is erased or the group destroyed.
    /// \throws whatever `create` throws
    std::shared_ptr<Pool> share(const Key& key) {
        std::shared_ptr<Entry> entry = make_or_find(key);
        Pool* const pool = entry->published.load(std::memory_order_acquire);
        return {std::move(entry), pool};
    }

    /// Gives the pool of this key its own options, which outlive an erase().
    /// \param key  must not have a pool yet, or no more (see erase())
    /// \param options  a limit of 0 stands for that of the group; with another one the pool does not follow the group
    /// \throws PoolInUse  when the key has a pool
    void configure(const Key& key, PoolOptions options) {
        std::shared_ptr<const State> previous;
        const auto lock = state_.lock();
        State state = state_.get();
        if (const auto found = state.entries.find(key); found != state.entries.end()) {
            if (found->second->published.load(std::memory_order_acquire))
                throw PoolInUse("configure: the key has a pool already");
            state.entries.erase(found);  // its creation, with the previous options, will be repeated
        }
        state.configured.insert_or_assign(key, std::move(options));
        previous = state_.set(std::move(state));
    }

    /// Closes the pool of this key gently and removes it; leases remain valid. References to it become invalid once 64
    /// more keys have been erased: a caller between its look-up and its use gets PoolClosed until then.
    /// \return false when the key had no pool
    bool erase(const Key& key) {
        std::shared_ptr<const State> previous;
        auto lock = state_.lock();
        State state = state_.get();
        const auto found = state.entries.find(key);
        if (found == state.entries.end()) return false;
        const std::shared_ptr<Entry> entry = found->second;
        state.entries.erase(found);
        state.erased.push_back(entry);
        if (state.erased.size() > max_erased) state.erased.erase(state.erased.begin());
        version_.store(detail::next_unique_id(), std::memory_order_release);
        previous = state_.set(std::move(state));
        lock.unlock();
        if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->close();
        return true;
    }

    /// Calls `visit(key, pool)` for each pool that exists at the start of the call, with no lock held. Pools that are
    /// erased meanwhile stay valid until it returns.
    template <class Visit>
    void for_each(Visit visit) {
        for (const auto& [key, entry] : entries())
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) visit(key, *pool);
    }

    /// The number of pools.
    std::size_t size() const {
        std::size_t count = 0;
        for (const auto& [key, entry] : entries()) count += entry->published.load(std::memory_order_acquire) ? 1 : 0;
        return count;
    }

    /// The limit of new pools of this group.
    std::size_t limit() const {
        const auto lock = state_.lock();
        return state_.get().limit;
    }

    /// Resets every pool of this group; see ResourcePool::reset.
    void reset() {
        for_each([](const Key&, Pool& pool) { pool.reset(); });
    }

    /// The statistics of each pool; see ResourcePool::stats.
    std::vector<PoolStats> stats() const {
        std::vector<PoolStats> all;
        for (const auto& [key, entry] : entries())
            if (Pool* pool = entry->published.load(std::memory_order_acquire)) all.push_back(pool->stats());
        return all;
    }

    bool follows_global_limit() const noexcept final { return follows_; }

private:
    struct Entry {
        detail::ForkSafeMutex mutex{};  // held during the creation of the pool
        std::unique_ptr<Pool> pool{};   // written once, under both locks
        std::atomic<Pool*> published{nullptr};
        bool follows_group = true;  // likewise
    };
    using Entries = std::unordered_map<Key, std::shared_ptr<Entry>>;
    struct State {
        std::size_t limit;
        Entries entries;
        std::unordered_map<Key, PoolOptions> configured;
        std::vector<std::shared_ptr<Entry>> erased;  // the latest one last
    };
    static constexpr std::size_t max_erased = 64;

    /// Holds the group's lock, so that no pool is added while the limit changes, and gives new pools the new limit.
    class GroupParticipant final : public detail::ResizeParticipant {
    public:
        GroupParticipant(PoolGroup& group, std::size_t limit)
            : group_(group), limit_(limit), lock_(group.state_.lock()) {}
        void lock() override {}
        const void* lock_order() const noexcept override { return nullptr; }
        void check() const override {}
        void apply() override {
            State state = group_.state_.get();
            state.limit = limit_;
            previous_ = group_.state_.set(std::move(state));
        }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void close_removed() noexcept override { previous_.reset(); }

    private:
        PoolGroup& group_;
        std::size_t limit_;
        std::shared_ptr<const State> previous_;
        std::unique_lock<std::mutex> lock_;
    };

    /// The entry of this key, which has its pool.
    std::shared_ptr<Entry> make_or_find(const Key& key);

    /// False when the key was erased or configured meanwhile.
    bool make(const Key& key, Entry& entry) {
        for (;;) {
            PoolOptions options = options_;
            std::size_t limit = 0;
            bool follows_group = true;
            {
                const auto lock = state_.lock();
                const State& state = state_.get();
                limit = state.limit;
                if (const auto own = state.configured.find(key); own != state.configured.end()) {
                    options = own->second;
                    follows_group = options.limit == 0;
                }
            }
            if (follows_group) options.limit = limit;
            std::unique_ptr<Pool> created = create_(key, options);
            if (!created) throw Error("the pool group's create returned no pool");
            // Published under the group's lock: a change of limit either sees this pool or happened before.
            const auto lock = state_.lock();
            const State& state = state_.get();
            const auto found = state.entries.find(key);
            if (found == state.entries.end() || found->second.get() != &entry) return false;
            if (state.limit != limit) continue;
            entry.pool = std::move(created);
            entry.follows_group = follows_group;
            entry.published.store(entry.pool.get(), std::memory_order_release);
            return true;
        }
    }

    std::shared_ptr<Entry> find_or_insert(const Key& key) {
        std::shared_ptr<const State> previous;
        const auto lock = state_.lock();
        if (const auto found = state_.get().entries.find(key); found != state_.get().entries.end())
            return found->second;
        State state = state_.get();
        auto entry = std::make_shared<Entry>();
        state.entries.emplace(key, entry);
        previous = state_.set(std::move(state));
        return entry;
    }

    Entries entries() const {
        const auto lock = state_.lock();
        return state_.get().entries;
    }

    void add_participants(std::size_t limit, const ResizeOptions& options,
                          detail::ResizeParticipants& participants) final {
        participants.push_back(std::make_unique<GroupParticipant>(*this, limit));
        for (const auto& [key, entry] : state_.get().entries)
            if (entry->pool && entry->follows_group)
                participants.push_back(
                    detail::PoolAccess::engine(*entry->pool).make_resize_participant(limit, options));
    }

    void collect_resets(std::vector<std::function<void()>>& resets) final {
        for (const auto& [key, entry] : entries())
            resets.push_back([kept = entry] {
                if (Pool* pool = kept->published.load(std::memory_order_acquire)) pool->reset();
            });
    }

    void collect_stats(std::vector<std::function<void(std::vector<PoolStats>&)>>& collectors) const final {
        for (const auto& [key, entry] : entries())
            collectors.push_back([kept = entry](std::vector<PoolStats>& all) {
                if (Pool* pool = kept->published.load(std::memory_order_acquire)) all.push_back(pool->stats());
            });
    }

    const Create create_;
    const bool follows_;
    const PoolOptions options_;
    std::atomic<std::uint64_t> version_{detail::next_unique_id()};
    detail::CopyOnWrite<State> state_;
};

// Not inline: for the pools that the library has instantiated, programs do not compile what it calls.
template <class Key, class Pool>
auto PoolGroup<Key, Pool>::make_or_find(const Key& key) -> std::shared_ptr<Entry> {
    for (;;) {
        std::shared_ptr<Entry> entry = find_or_insert(key);
        if (entry->published.load(std::memory_order_acquire)) return entry;
        const std::lock_guard once{entry->mutex};
        if (entry->published.load(std::memory_order_acquire) || make(key, *entry)) return entry;
    }
}

}  // namespace kombu

#ifndef KOMBU_POOL_COMPILED
#include <kombu/pool/detail/implementation.hpp>
#endif
