// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/fork_local.hpp>
#include <kombu/detail/fork_safe_map.hpp>
#include <kombu/error.hpp>
#include <kombu/pool/detail/any_pool.hpp>
#include <kombu/pool/detail/key_fingerprint.hpp>
#include <kombu/pool/detail/pool_access.hpp>
#include <kombu/pool/detail/resize_participant.hpp>
#include <kombu/pool/detail/thread_cache.hpp>
#include <kombu/pool/group_registry.hpp>
#include <kombu/pool/options.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace kombu {

/// One pool for each distinct key, created at its first use, exactly once, also when several threads ask at once.
///
/// `Key` needs std::hash and ==. A repeated look-up on the same thread takes no lock: it costs a few nanoseconds when
/// the key is a Connection, a std::string, a number, or has a `std::uint64_t fingerprint() const noexcept` that differs
/// between keys that are not equal, and otherwise one hash and one comparison. `Pool` is a ResourcePool or derived from
/// one.
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
        : create_(std::move(create)), follows_(limit.follows()), options_(std::move(options)), limit_(limit.value()) {
        if (!create_) throw ConfigurationError("PoolGroup: create is not set");
        if (!follows_) return;
        if (!registry) throw ConfigurationError("PoolGroup: limit follows a registry, but none was given");
        registry->follow_limit(*this);
    }

    ~PoolGroup() {
        leave_registry();
        // Pools that nobody has used since a fork are the parent's, and stay.
        entries_.for_each_of_this_process([](const Key&, const std::shared_ptr<Entry>& entry) {
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->close();
        });
    }

    /// The pool of this key.
    /// \throws whatever `create` throws; the next call then tries again
    Pool& operator[](const Key& key) {
        const std::uint64_t version = version_.load(std::memory_order_acquire);
        if (detail::ThreadCache* const cache = detail::thread_cache) [[likely]]
            for (const detail::RecentLookup& recent : cache->lookups.set_of(version + Fingerprint::hash(key)))
                if (recent.version == version && Fingerprint::matches(recent.key, key)) [[likely]]
                    return *static_cast<Pool*>(recent.pool);
        return look_up(key, version);
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
        // Destroyed without the locks.
        std::optional<std::shared_ptr<Entry>> unfinished;
        std::optional<std::shared_ptr<const PoolOptions>> previous;
        const auto lock = entries_.lock();
        if (const auto* const entry = entries_.find(key)) {
            if ((*entry)->published.load(std::memory_order_acquire))
                throw PoolInUse("configure: the key has a pool already");
        }
        auto kept = std::make_shared<const PoolOptions>(std::move(options));
        const auto configured = configured_.lock();
        previous = configured_.set(key, std::move(kept));
        unfinished = entries_.extract(key);  // its creation, with the previous options, will be repeated
    }

    /// Closes the pool of this key gently and removes it; leases remain valid. References to it become invalid once 64
    /// more keys have been erased: a caller between its look-up and its use gets PoolClosed until then.
    /// \return false when the key had no pool
    bool erase(const Key& key) {
        std::shared_ptr<Entry> removed;
        auto lock = entries_.lock();
        if (!entries_.find(key)) return false;
        const std::shared_ptr<Entry> entry = *remove(key, removed);
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
    std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }

    /// Resets every pool of this group; see ResourcePool::reset.
    void reset() {
        for (const auto& pool : pools()) pool->reset();
    }

    /// Closes every pool of this group, then waits until all leases are back; see ResourcePool::close_and_wait.
    /// \param timeout  for all pools together
    /// \return the number of leases that are not back
    std::size_t close_and_wait(OptionalTimeout timeout = {}) {
        return detail::close_and_wait(pools(), Deadline::after(timeout));
    }

    /// The statistics of each pool; see ResourcePool::stats.
    std::vector<PoolStats> stats() const {
        std::vector<PoolStats> all;
        for (const auto& pool : pools()) all.push_back(pool->stats());
        return all;
    }

    /// Whether its limit is that of the registry.
    bool follows_global_limit() const noexcept final { return follows_; }

private:
    struct Entry {
        explicit Entry(const Key& entry_key) : key(entry_key) {}
        const Key key;
        detail::ForkSafeMutex mutex{};  // held during the creation of the pool
        std::unique_ptr<Pool> pool{};   // written once, under both locks
        std::atomic<Pool*> published{nullptr};
        bool follows_group = true;  // likewise
    };
    class Member final : public detail::AnyPool {
    public:
        Member(std::shared_ptr<Entry> entry, Pool& pool) : entry_(std::move(entry)), pool_(pool) {}
        void reset() noexcept override { pool_.reset(); }
        void close() noexcept override { pool_.close(); }
        std::size_t wait_for_leases(Deadline deadline) override {
            return detail::PoolAccess::engine(pool_).wait_for_leases(deadline);
        }
        PoolStats stats() const override { return pool_.stats(); }

    private:
        const std::shared_ptr<Entry> entry_;
        Pool& pool_;
    };
    using Entries = std::vector<std::pair<Key, std::shared_ptr<Entry>>>;
    using Fingerprint = detail::KeyFingerprint<Key>;
    static constexpr std::size_t max_erased = 64;

    /// Holds the group's lock, so that no pool is added while the limit changes, and gives new pools the new limit.
    class GroupParticipant final : public detail::ResizeParticipant {
    public:
        GroupParticipant(PoolGroup& group, std::size_t limit)
            : group_(group), limit_(limit), lock_(group.entries_.lock()) {}
        void lock() override {}
        const void* lock_order() const noexcept override { return nullptr; }
        void check() override {}
        void apply() noexcept override { group_.limit_.store(limit_, std::memory_order_relaxed); }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void close_removed() noexcept override {}

    private:
        PoolGroup& group_;
        std::size_t limit_;
        std::unique_lock<std::mutex> lock_;
    };

    /// Not in the caches of this thread.
    Pool& look_up(const Key& key, std::uint64_t version);

    /// The entry of this key, which has its pool.
    std::shared_ptr<Entry> make_or_find(const Key& key);

    /// False when the key was erased or configured meanwhile.
    bool make(const Key& key, Entry& entry) {
        for (;;) {
            const std::size_t limit = limit_.load(std::memory_order_relaxed);
            const std::shared_ptr<const PoolOptions> own = configured_options(key);
            PoolOptions options = own ? *own : options_;
            const bool follows_group = !own || own->limit == 0;
            if (follows_group) options.limit = limit;
            std::unique_ptr<Pool> created = create_(key, options);
            if (!created) throw Error("the pool group's create returned no pool");
            // Published under the group's lock: a change of limit either sees this pool or happened before.
            const auto lock = entries_.lock();
            const auto* const current = entries_.find(key);
            if (!current || current->get() != &entry) return false;
            if (limit_.load(std::memory_order_relaxed) != limit) continue;
            entry.pool = std::move(created);
            entry.follows_group = follows_group;
            entry.published.store(entry.pool.get(), std::memory_order_release);
            return true;
        }
    }

    std::shared_ptr<const PoolOptions> configured_options(const Key& key) const {
        const auto lock = configured_.lock();
        const auto* const found = configured_.find(key);
        return found ? *found : nullptr;
    }

    std::shared_ptr<Entry> find_or_insert(const Key& key) {
        const auto lock = entries_.lock();
        if (const auto* const found = entries_.find(key)) return *found;
        return entries_.insert(key, std::make_shared<Entry>(key));
    }

    /// With the lock. `replaced`: one that was erased long ago, which the caller destroys without the lock.
    std::optional<std::shared_ptr<Entry>> remove(const Key& key, std::shared_ptr<Entry>& replaced) {
        auto entry = entries_.extract(key);
        if (!entry) return entry;
        version_.store(detail::next_unique_id(), std::memory_order_release);
        replaced = std::exchange(erased_[erased_count_++ % max_erased], *entry);
        return entry;
    }

    Entries entries() const {
        Entries all;
        const auto lock = entries_.lock();
        all.reserve(entries_.size());
        entries_.for_each([&](const Key& key, const std::shared_ptr<Entry>& entry) { all.emplace_back(key, entry); });
        return all;
    }

    void add_participants(std::size_t limit, const ResizeOptions& options,
                          detail::ResizeParticipants& participants) final {
        participants.push_back(std::make_unique<GroupParticipant>(*this, limit));
        entries_.for_each([&](const Key&, const std::shared_ptr<Entry>& entry) {
            if (entry->pool && entry->follows_group)
                participants.push_back(
                    detail::PoolAccess::engine(*entry->pool).make_resize_participant(limit, options));
        });
    }

    void collect_pools(detail::AnyPools& pools) const final {
        const auto lock = entries_.lock();
        pools.reserve(pools.size() + entries_.size());
        entries_.for_each([&](const Key&, const std::shared_ptr<Entry>& entry) {
            if (Pool* const pool = entry->published.load(std::memory_order_acquire))
                pools.push_back(std::make_unique<Member>(entry, *pool));
        });
    }
    detail::AnyPools pools() const {
        detail::AnyPools all;
        collect_pools(all);
        return all;
    }

    void reset_under_lock() noexcept final {
        const auto lock = entries_.lock();
        entries_.for_each([](const Key&, const std::shared_ptr<Entry>& entry) {
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->reset();
        });
    }

    const Create create_;
    const bool follows_;
    const PoolOptions options_;
    std::atomic<std::size_t> limit_;  // changed under the lock of the entries
    std::atomic<std::uint64_t> version_{detail::next_unique_id()};
    detail::ForkSafeMap<Key, std::shared_ptr<Entry>> entries_{};
    detail::ForkSafeMap<Key, std::shared_ptr<const PoolOptions>> configured_{};
    // The last ones that were erased, under the lock of the entries.
    std::array<std::shared_ptr<Entry>, max_erased> erased_{};
    std::size_t erased_count_ = 0;
};

// Not inline: for the pools that the library has instantiated, programs do not compile what these call.
template <class Key, class Pool>
Pool& PoolGroup<Key, Pool>::look_up(const Key& key, std::uint64_t version) {
    const std::shared_ptr<Entry> entry = make_or_find(key);
    Pool& pool = *entry->published.load(std::memory_order_acquire);
    if (detail::ThreadCache* const cache = detail::this_thread_cache()) {
        auto& [latest, older] = cache->lookups.set_of(version + Fingerprint::hash(key));
        older = latest;
        latest = {version, &pool, Fingerprint::of(key, entry->key)};
    }
    return pool;
}

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
