// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/resize_participant.hpp>
#include <kombu/pool/group_registry.hpp>

#include <algorithm>
#include <utility>

namespace kombu {

/// Unlocks groups and pools before the registry, also when a participant throws: while the registry is locked, no group
/// can be destroyed.
struct GroupRegistry::Unlocker {
    const detail::ResizeParticipants& participants;
    ~Unlocker() {
        for (const auto& participant : participants) participant->unlock();
    }
};

KOMBU_POOL_INLINE void GroupBase::leave_registry() noexcept {
    if (GroupRegistry* const registry = registry_.load()) registry->remove(*this);
}

KOMBU_POOL_INLINE std::size_t GroupRegistry::limit() const {
    const auto lock = state_.lock();
    return state_.get().limit;
}

KOMBU_POOL_INLINE void GroupRegistry::set_limit(std::size_t limit, const ResizeOptions& options) {
    detail::ResizeParticipants participants;  // destroyed, with what they close, after the lock
    auto lock = state_.lock();
    const Unlocker unlocker{participants};
    if (limit == state_.get().limit && !options.reset) return;
    for (const Member& member : state_.get().members)
        if (GroupBase* const group = member.group->load(); group && group->follows_global_limit())
            group->add_participants(limit, options, participants);
    detail::lock_all(participants);
    for (const auto& participant : participants) participant->check();
    state_.set({limit, state_.get().members});
    apply(participants);
    lock.unlock();
    for (const auto& participant : participants) participant->close_removed();
}

KOMBU_POOL_INLINE detail::AnyPools GroupRegistry::collect_pools() const {
    detail::AnyPools pools;
    for (const Member& member : state_.get().members)
        if (const GroupBase* const group = member.group->load(); group && member.resets) group->collect_pools(pools);
    return pools;
}

KOMBU_POOL_INLINE void GroupRegistry::reset() noexcept {
    auto lock = state_.lock();
    try {
        const detail::AnyPools pools = collect_pools();
        lock.unlock();
        for (const auto& pool : pools) pool->reset();
    } catch (...) {
        for (const Member& member : state_.get().members)
            if (GroupBase* const group = member.group->load(); group && member.resets) group->reset_under_lock();
    }
}

KOMBU_POOL_INLINE std::size_t GroupRegistry::close_and_wait(OptionalTimeout timeout) {
    auto lock = state_.lock();
    const detail::AnyPools pools = collect_pools();
    lock.unlock();
    return detail::close_and_wait(pools, Deadline::after(timeout));
}

KOMBU_POOL_INLINE std::vector<PoolStats> GroupRegistry::stats() const {
    auto lock = state_.lock();
    const detail::AnyPools pools = collect_pools();
    lock.unlock();
    std::vector<PoolStats> all;
    for (const auto& pool : pools) all.push_back(pool->stats());
    return all;
}

KOMBU_POOL_INLINE void GroupRegistry::register_group(GroupBase& group, bool resets) {
    detail::ResizeParticipants participants;
    auto lock = state_.lock();
    const Unlocker unlocker{participants};
    State state = state_.get();
    std::erase_if(state.members, [](const Member& member) { return !member.group->load(); });
    const auto existing = std::find_if(state.members.begin(), state.members.end(),
                                       [&](const Member& member) { return member.group->load() == &group; });
    if (existing != state.members.end()) {
        existing->resets = existing->resets || resets;
        state_.set(std::move(state));
        return;
    }
    if (GroupRegistry* const other = group.registry_.load(); other && other != this)
        throw ConfigurationError("the group belongs to another registry");
    state.members.push_back({std::make_shared<std::atomic<GroupBase*>>(&group), resets});
    const std::size_t limit = state.limit;
    if (group.follows_global_limit()) {
        group.add_participants(limit, {.ignore_errors = true}, participants);
        detail::lock_all(participants);
        for (const auto& participant : participants) participant->check();
    }
    state_.set(std::move(state));
    group.registry_.store(this);
    apply(participants);
    lock.unlock();
    for (const auto& participant : participants) participant->close_removed();
}

KOMBU_POOL_INLINE void GroupRegistry::apply(const detail::ResizeParticipants& participants) noexcept {
    for (const auto& participant : participants) participant->apply();
    for (const auto& participant : participants) participant->unlock();
}

KOMBU_POOL_INLINE void GroupRegistry::remove(const GroupBase& group) noexcept {
    const auto lock = state_.lock();
    for (const Member& member : state_.get().members)
        if (member.group->load() == &group) member.group->store(nullptr);
}

}  // namespace kombu
