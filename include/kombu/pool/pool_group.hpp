// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/per_process.hpp>
#include <kombu/error.hpp>
#include <kombu/pool/detail/key_print.hpp>
#include <kombu/pool/detail/slot_table.hpp>
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

/// The limit of a group's pools: a number of its own (0: unlimited), or that of the registry.
class GroupLimit {
public:
    constexpr GroupLimit(std::size_t limit) : limit_(limit) {}
    constexpr GroupLimit(UseGlobalLimit) : follows_(true) {}
    constexpr bool follows() const noexcept { return follows_; }
    constexpr std::size_t value() const noexcept { return limit_; }

private:
    std::size_t limit_ = 0;
    bool follows_ = false;
};

/// One pool for each distinct key, made at first use, exactly once, also when many threads ask at the same time.
///
/// `Key` needs std::hash and ==. A look-up that a thread repeats costs a few nanoseconds when the key is a Connection,
/// text of up to 96 characters, a number, or has a `std::uint64_t fingerprint() const noexcept` that differs between
/// keys that do. `Pool` is a ResourcePool or something derived from one.
///
/// A reference obtained from a group stays valid until the group is destroyed or that key is erased; leases outlive
/// both. Threads: every member may be called from any thread at any time, except the destructor. Fork: a child has the
/// same pools, empty.
template <class Key, class Pool>
class PoolGroup : public GroupBase {
public:
    /// Makes the pool of a key with these options; their limit is the group's, or the key's own. Called without the
    /// group's lock, so it may use other groups.
    using Create = std::function<std::unique_ptr<Pool>(const Key&, const PoolOptions&)>;

    /// `options` are those of every pool that is not configured by its key; their limit is not used.
    /// Throws ConfigurationError when `create` is empty, or the limit follows a registry and there is none.
    explicit PoolGroup(Create create, GroupLimit limit = 0, GroupRegistry* registry = nullptr, PoolOptions options = {})
        : create_(std::move(create)),
          follows_(limit.follows()),
          options_(std::move(options)),
          state_({limit.value(), {}, {}, {}}) {
        if (!create_) throw ConfigurationError("PoolGroup: create is not set");
        if (!follows_) return;
        if (!registry) throw ConfigurationError("PoolGroup: limit follows a registry, but none was given");
        registry->follow(*this);
    }

    ~PoolGroup() {
        leave_registry();
        // In a forked child the parent's version keeps the pools from being destroyed.
        for (const auto& [key, entry] : entries())
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->close();
    }

    /// The pool of this key. Throws what the group's `create` throws; the next call then tries again.
    Pool& operator[](const Key& key) {
        const std::uint64_t version = version_.load(std::memory_order_acquire);
        auto& recent = detail::RecentLookups<Key, Pool>::of(version, key);
        if (recent.version == version && recent.key.matches(key)) [[likely]]
            return *recent.pool;
        Pool& pool = *make_or_find(key)->published.load(std::memory_order_acquire);
        recent.version = 0;
        if (recent.key.remember(key)) {
            recent.pool = &pool;
            recent.version = version;
        }
        return pool;
    }

    /// The same, kept alive by the caller, whatever is erased or destroyed meanwhile.
    std::shared_ptr<Pool> share(const Key& key) {
        std::shared_ptr<Entry> entry = make_or_find(key);
        Pool* const pool = entry->published.load(std::memory_order_acquire);
        return {std::move(entry), pool};
    }

    /// Gives the pool of this key options of its own, before it is first used: throws PoolInUse when there is a pool
    /// already (erase() it first). A limit of 0 stands for that of the group; with another one the pool no longer
    /// follows the group's. The options outlive an erase().
    void configure(const Key& key, PoolOptions options) {
        std::shared_ptr<const State> gone;
        const auto lock = state_.lock();
        State state = state_.get();
        if (const auto found = state.entries.find(key); found != state.entries.end()) {
            if (found->second->published.load(std::memory_order_acquire))
                throw PoolInUse("configure: the key has a pool already");
            state.entries.erase(found);  // being made with the options of before: it will be made again
        }
        state.configured.insert_or_assign(key, std::move(options));
        gone = state_.set(std::move(state));
    }

    /// Forgets the pool of this key, closing it gently. Leases live on. References to it become invalid; not at once,
    /// for the sake of callers who are between looking it up and using it (they get PoolClosed), but when 64 more have
    /// been erased. False when there was none.
    bool erase(const Key& key) {
        std::shared_ptr<const State> gone;
        auto lock = state_.lock();
        State state = state_.get();
        const auto found = state.entries.find(key);
        if (found == state.entries.end()) return false;
        const std::shared_ptr<Entry> entry = found->second;
        state.entries.erase(found);
        state.erased.push_back(entry);
        if (state.erased.size() > longest_erased) state.erased.erase(state.erased.begin());
        version_.store(detail::next_number(), std::memory_order_release);
        gone = state_.set(std::move(state));
        lock.unlock();
        if (Pool* const pool = entry->published.load(std::memory_order_acquire)) pool->close();
        return true;
    }

    /// Calls `visit(key, pool)` for each pool there is at the beginning; those that are erased meanwhile stay valid
    /// until it returns. Without any lock.
    template <class Visit>
    void for_each(Visit visit) {
        for (const auto& [key, entry] : entries())
            if (Pool* const pool = entry->published.load(std::memory_order_acquire)) visit(key, *pool);
    }

    /// How many pools there are.
    std::size_t size() const {
        std::size_t count = 0;
        for (const auto& [key, entry] : entries()) count += entry->published.load(std::memory_order_acquire) ? 1 : 0;
        return count;
    }

    /// The limit that new pools of this group get.
    std::size_t limit() const {
        const auto lock = state_.lock();
        return state_.get().limit;
    }

    /// Resets every pool of this group; see ResourcePool::reset.
    void reset() {
        for_each([](const Key&, Pool& pool) { pool.reset(); });
    }

    /// What each pool looks like; see ResourcePool::stats.
    std::vector<PoolStats> stats() const {
        std::vector<PoolStats> all;
        for (const auto& [key, entry] : entries())
            if (Pool* pool = entry->published.load(std::memory_order_acquire)) all.push_back(pool->stats());
        return all;
    }

    bool follows_global_limit() const noexcept final { return follows_; }

private:
    struct Entry {
        detail::ForkSafeMutex mutex{};  // held while the pool is made
        std::unique_ptr<Pool> pool{};   // written once, under both locks
        std::atomic<Pool*> published{nullptr};
        bool follows_group = true;  // likewise
    };
    using Entries = std::unordered_map<Key, std::shared_ptr<Entry>>;
    struct State {
        std::size_t limit;
        Entries entries;
        std::unordered_map<Key, PoolOptions> configured;
        std::vector<std::shared_ptr<Entry>> erased;  // the latest last
    };
    static constexpr std::size_t longest_erased = 64;

    /// Holds the group's lock, so that no pool is added while the limit changes, and gives new pools the new limit.
    class GroupStep final : public detail::ResizeStep {
    public:
        GroupStep(PoolGroup& group, std::size_t limit) : group_(group), limit_(limit), lock_(group.state_.lock()) {}
        void lock() override {}
        const void* place() const noexcept override { return nullptr; }
        void check() const override {}
        void apply() override {
            State state = group_.state_.get();
            state.limit = limit_;
            gone_ = group_.state_.set(std::move(state));
        }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void finish() noexcept override { gone_.reset(); }

    private:
        PoolGroup& group_;
        std::size_t limit_;
        std::shared_ptr<const State> gone_;
        std::unique_lock<std::mutex> lock_;
    };

    /// The entry of this key, with its pool.
    __attribute__((noinline)) std::shared_ptr<Entry> make_or_find(const Key& key) {
        for (;;) {
            std::shared_ptr<Entry> entry = find_or_insert(key);
            if (entry->published.load(std::memory_order_acquire)) return entry;
            const std::lock_guard once{entry->mutex};
            if (entry->published.load(std::memory_order_acquire) || make(key, *entry)) return entry;
        }
    }

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
            std::unique_ptr<Pool> made = create_(key, options);
            if (!made) throw Error("the pool group's create made nothing");
            // Published under the group's lock: a change of limit either sees this pool or happened before.
            const auto lock = state_.lock();
            const State& state = state_.get();
            const auto found = state.entries.find(key);
            if (found == state.entries.end() || found->second.get() != &entry) return false;
            if (state.limit != limit) continue;
            entry.pool = std::move(made);
            entry.follows_group = follows_group;
            entry.published.store(entry.pool.get(), std::memory_order_release);
            return true;
        }
    }

    std::shared_ptr<Entry> find_or_insert(const Key& key) {
        std::shared_ptr<const State> gone;
        const auto lock = state_.lock();
        if (const auto found = state_.get().entries.find(key); found != state_.get().entries.end())
            return found->second;
        State state = state_.get();
        auto entry = std::make_shared<Entry>();
        state.entries.emplace(key, entry);
        gone = state_.set(std::move(state));
        return entry;
    }

    Entries entries() const {
        const auto lock = state_.lock();
        return state_.get().entries;
    }

    void begin_resize(std::size_t limit, const ResizeOptions& options, detail::ResizeSteps& steps) final {
        steps.push_back(std::make_unique<GroupStep>(*this, limit));
        for (const auto& [key, entry] : state_.get().entries)
            if (entry->pool && entry->follows_group) steps.push_back(entry->pool->begin_resize(limit, options));
    }

    void collect_resets(std::vector<std::function<void()>>& resets) final {
        for (const auto& [key, entry] : entries())
            resets.push_back([kept = entry] {
                if (Pool* pool = kept->published.load(std::memory_order_acquire)) pool->reset();
            });
    }

    void collect_looks(std::vector<std::function<void(std::vector<PoolStats>&)>>& looks) const final {
        for (const auto& [key, entry] : entries())
            looks.push_back([kept = entry](std::vector<PoolStats>& all) {
                if (Pool* pool = kept->published.load(std::memory_order_acquire)) all.push_back(pool->stats());
            });
    }

    const Create create_;
    const bool follows_;
    const PoolOptions options_;
    std::atomic<std::uint64_t> version_{detail::next_number()};
    detail::CopyOnWrite<State> state_;
};

}  // namespace kombu
