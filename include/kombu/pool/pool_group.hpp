// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/group_registry.hpp>
#include <kombu/pool/options.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
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
/// `Key` needs std::hash and ==. `Pool` is a ResourcePool or something derived from one. A reference obtained from a
/// group stays valid until the group is destroyed or that key is erased; leases outlive both. Threads: every member may
/// be called from any thread at any time, except the destructor.
template <class Key, class Pool>
class PoolGroup : public GroupBase {
public:
    /// Makes the pool of a key with the group's limit. Called without the group's lock, so it may use other groups.
    using Create = std::function<std::unique_ptr<Pool>(const Key&, std::size_t limit)>;

    /// Throws ConfigurationError when `create` is empty, or the limit follows a registry and there is none.
    explicit PoolGroup(Create create, GroupLimit limit = 0, GroupRegistry* registry = nullptr)
        : create_(std::move(create)), follows_(limit.follows()), limit_(limit.value()) {
        if (!create_) throw ConfigurationError("PoolGroup: create is not set");
        if (!follows_) return;
        if (!registry) throw ConfigurationError("PoolGroup: limit follows a registry, but none was given");
        registry->follow(*this);
    }

    ~PoolGroup() { leave_registry(); }

    /// The pool of this key. Throws what the group's `create` throws; the next call then tries again.
    Pool& operator[](const Key& key) {
        const std::shared_ptr<Entry> entry = find_or_insert(key);
        if (Pool* pool = entry->published.load(std::memory_order_acquire)) return *pool;
        std::lock_guard once{entry->mutex};
        if (entry->pool) return *entry->pool;
        for (;;) {
            const std::size_t wanted = limit();
            std::unique_ptr<Pool> made = create_(key, wanted);
            if (!made) throw Error("the pool group's create made nothing");
            // Published under the group's lock: a change of limit either sees this pool or happened before.
            std::unique_lock lock{mutex_};
            if (limit_ != wanted) continue;
            entry->pool = std::move(made);
            entry->published.store(entry->pool.get(), std::memory_order_release);
            return *entry->pool;
        }
    }

    /// Forgets the pool of this key, closing it gently. References to it become invalid; leases live on.
    /// False when there was none.
    bool erase(const Key& key) {
        std::shared_ptr<Entry> gone;
        std::unique_lock lock{mutex_};
        const auto found = entries_.find(key);
        if (found == entries_.end()) return false;
        gone = std::move(found->second);
        entries_.erase(found);
        lock.unlock();
        return true;
    }

    /// How many pools there are.
    std::size_t size() const {
        std::shared_lock lock{mutex_};
        std::size_t count = 0;
        for (const auto& [key, entry] : entries_) count += entry->published.load(std::memory_order_acquire) ? 1 : 0;
        return count;
    }

    /// The limit that new pools of this group get.
    std::size_t limit() const {
        std::shared_lock lock{mutex_};
        return limit_;
    }

    /// Resets every pool of this group; see ResourcePool::reset.
    void reset() {
        std::vector<std::function<void()>> resets;
        collect_resets(resets);
        for (const auto& reset_pool : resets) reset_pool();
    }

    bool follows_global_limit() const noexcept final { return follows_; }

private:
    struct Entry {
        std::mutex mutex{};            // held while the pool is made
        std::unique_ptr<Pool> pool{};  // written once, under both locks
        std::atomic<Pool*> published{nullptr};
    };

    /// Holds the group's lock, so that no pool is added while the limit changes, and gives new pools the new limit.
    class GroupStep final : public detail::ResizeStep {
    public:
        GroupStep(PoolGroup& group, std::size_t limit) : group_(group), limit_(limit), lock_(group.mutex_) {}
        void check() const override {}
        void apply() override { group_.limit_ = limit_; }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void finish() noexcept override {}

    private:
        PoolGroup& group_;
        std::size_t limit_;
        std::unique_lock<std::shared_mutex> lock_;
    };

    std::shared_ptr<Entry> find_or_insert(const Key& key) {
        {
            std::shared_lock lock{mutex_};
            if (const auto found = entries_.find(key); found != entries_.end()) return found->second;
        }
        std::unique_lock lock{mutex_};
        auto& entry = entries_[key];
        if (!entry) entry = std::make_shared<Entry>();
        return entry;
    }

    void begin_resize(std::size_t limit, const ResizeOptions& options,
                      std::vector<std::unique_ptr<detail::ResizeStep>>& steps) final {
        steps.push_back(std::make_unique<GroupStep>(*this, limit));
        for (const auto& [key, entry] : entries_)
            if (entry->pool) steps.push_back(entry->pool->begin_resize(limit, options));
    }

    void collect_resets(std::vector<std::function<void()>>& resets) final {
        std::shared_lock lock{mutex_};
        for (const auto& [key, entry] : entries_)
            resets.push_back([kept = entry] {
                if (Pool* pool = kept->published.load(std::memory_order_acquire)) pool->reset();
            });
    }

    const Create create_;
    const bool follows_;
    mutable std::shared_mutex mutex_;
    std::size_t limit_;
    std::unordered_map<Key, std::shared_ptr<Entry>> entries_;
};

}  // namespace kombu
