// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/detail/per_process.hpp>
#include <kombu/error.hpp>
#include <kombu/pool/detail/resize_step.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace kombu {

class GroupRegistry;

/// Says that a group takes its limit from its registry, now and after each set_limit().
struct UseGlobalLimit {
    friend constexpr bool operator==(UseGlobalLimit, UseGlobalLimit) = default;
};

/// What a registry needs of a group, whatever its keys and pools are.
class GroupBase {
public:
    GroupBase(const GroupBase&) = delete;
    GroupBase& operator=(const GroupBase&) = delete;

    /// True when the group takes its limit from its registry.
    virtual bool follows_global_limit() const noexcept = 0;

protected:
    GroupBase() = default;
    virtual ~GroupBase() = default;

    /// Must be called first thing in the destructor of the most derived class.
    inline void leave_registry() noexcept;

private:
    friend class GroupRegistry;
    /// Locks the group, and adds its step and those of its pools.
    virtual void begin_resize(std::size_t limit, const ResizeOptions& options, detail::ResizeSteps& steps) = 0;
    /// What resets the pools, to be called without any lock; it keeps alive what it needs.
    virtual void collect_resets(std::vector<std::function<void()>>& resets) = 0;
    /// What looks at the pools, likewise.
    virtual void collect_looks(std::vector<std::function<void(std::vector<PoolStats>&)>>& looks) const = 0;

    std::atomic<GroupRegistry*> registry_{nullptr};
};

/// Groups that share one limit and are reset together. `kombu::pools` has one for the whole process.
///
/// Threads: every member may be called from any thread. Locks are taken in the order registry, group, pool. A registry
/// must outlive its groups.
class GroupRegistry {
public:
    explicit GroupRegistry(std::size_t limit) : state_({limit, {}}) {}
    GroupRegistry(const GroupRegistry&) = delete;
    GroupRegistry& operator=(const GroupRegistry&) = delete;

    std::size_t limit() const {
        const auto lock = state_.lock();
        return state_.get().limit;
    }

    /// Changes the limit of this registry and of every pool of every group that follows it. When one pool refuses,
    /// throws PoolInUse and changes nothing anywhere. 0 means unlimited.
    void set_limit(std::size_t limit, const ResizeOptions& options = {}) {
        Steps steps;  // destroyed, like what they close, without the lock
        auto lock = state_.lock();
        const Unlocker unlocker{steps};
        if (limit == state_.get().limit && !options.reset) return;
        for (const Member& member : state_.get().members)
            if (member.group->follows_global_limit()) member.group->begin_resize(limit, options, steps);
        detail::lock_in_order(steps);
        for (const auto& step : steps) step->check();
        state_.set({limit, state_.get().members});
        apply(steps);
        lock.unlock();
        for (const auto& step : steps) step->finish();
    }

    /// Resets every pool of every group that was registered for it. The pools stay valid and work on.
    void reset() noexcept {
        std::vector<std::function<void()>> resets;
        {
            const auto lock = state_.lock();
            for (const Member& member : state_.get().members)
                if (member.resets) member.group->collect_resets(resets);
        }
        for (const auto& reset_pool : resets) reset_pool();
    }

    /// What every pool of every registered group looks like.
    std::vector<PoolStats> stats() const {
        std::vector<std::function<void(std::vector<PoolStats>&)>> looks;
        {
            const auto lock = state_.lock();
            for (const Member& member : state_.get().members)
                if (member.resets) member.group->collect_looks(looks);
        }
        std::vector<PoolStats> all;
        for (const auto& look : looks) look(all);
        return all;
    }

    /// Registers a group for reset() and stats(), and for set_limit() when it follows the global limit. A group leaves
    /// by itself when it is destroyed. Registering twice does nothing; a group of another registry throws
    /// ConfigurationError.
    void add(GroupBase& group) { enrol(group, true); }

    /// For groups that follow the limit without being reset with the others.
    void follow(GroupBase& group) { enrol(group, false); }

private:
    friend class GroupBase;
    using Steps = detail::ResizeSteps;
    /// Lets go of groups and pools before the registry, also when a step throws: while the registry is locked, no group
    /// can be destroyed.
    struct Unlocker {
        const Steps& steps;
        ~Unlocker() {
            for (const auto& step : steps) step->unlock();
        }
    };
    struct Member {
        GroupBase* group;
        bool resets;
    };
    struct State {
        std::size_t limit;
        std::vector<Member> members;
    };

    void enrol(GroupBase& group, bool resets) {
        Steps steps;
        auto lock = state_.lock();
        const Unlocker unlocker{steps};
        State state = state_.get();
        const auto known = std::find_if(state.members.begin(), state.members.end(),
                                        [&](const Member& m) { return m.group == &group; });
        if (known != state.members.end()) {
            known->resets = known->resets || resets;
            state_.set(std::move(state));
            return;
        }
        GroupRegistry* registry = nullptr;
        if (!group.registry_.compare_exchange_strong(registry, this) && registry != this)
            throw ConfigurationError("the group belongs to another registry already");
        state.members.push_back({&group, resets});
        const std::size_t limit = state.limit;
        state_.set(std::move(state));
        if (!group.follows_global_limit()) return;
        group.begin_resize(limit, {.ignore_errors = true}, steps);
        detail::lock_in_order(steps);
        apply(steps);
        lock.unlock();
        for (const auto& step : steps) step->finish();
    }

    static void apply(const Steps& steps) {
        for (const auto& step : steps) step->apply();
        for (const auto& step : steps) step->unlock();
    }

    void remove(const GroupBase& group) noexcept {
        const auto lock = state_.lock();
        State state = state_.get();
        std::erase_if(state.members, [&](const Member& m) { return m.group == &group; });
        state_.set(std::move(state));
    }

    detail::CopyOnWrite<State> state_;
};

inline void GroupBase::leave_registry() noexcept {
    if (GroupRegistry* const registry = registry_.load()) registry->remove(*this);
}

}  // namespace kombu
