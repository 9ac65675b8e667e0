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
        if (member.group->follows_global_limit()) member.group->add_participants(limit, options, participants);
    detail::lock_all(participants);
    for (const auto& participant : participants) participant->check();
    state_.set({limit, state_.get().members});
    apply(participants);
    lock.unlock();
    for (const auto& participant : participants) participant->close_removed();
}

KOMBU_POOL_INLINE void GroupRegistry::reset() noexcept {
    std::vector<std::function<void()>> resets;
    {
        const auto lock = state_.lock();
        for (const Member& member : state_.get().members)
            if (member.resets) member.group->collect_resets(resets);
    }
    for (const auto& reset_pool : resets) reset_pool();
}

KOMBU_POOL_INLINE std::vector<PoolStats> GroupRegistry::stats() const {
    std::vector<std::function<void(std::vector<PoolStats>&)>> collectors;
    {
        const auto lock = state_.lock();
        for (const Member& member : state_.get().members)
            if (member.resets) member.group->collect_stats(collectors);
    }
    std::vector<PoolStats> all;
    for (const auto& collect : collectors) collect(all);
    return all;
}

KOMBU_POOL_INLINE void GroupRegistry::register_group(GroupBase& group, bool resets) {
    detail::ResizeParticipants participants;
    auto lock = state_.lock();
    const Unlocker unlocker{participants};
    State state = state_.get();
    const auto existing = std::find_if(state.members.begin(), state.members.end(),
                                       [&](const Member& member) { return member.group == &group; });
    if (existing != state.members.end()) {
        existing->resets = existing->resets || resets;
        state_.set(std::move(state));
        return;
    }
    GroupRegistry* registry = nullptr;
    if (!group.registry_.compare_exchange_strong(registry, this) && registry != this)
        throw ConfigurationError("the group belongs to another registry");
    state.members.push_back({&group, resets});
    const std::size_t limit = state.limit;
    state_.set(std::move(state));
    if (!group.follows_global_limit()) return;
    group.add_participants(limit, {.ignore_errors = true}, participants);
    detail::lock_all(participants);
    apply(participants);
    lock.unlock();
    for (const auto& participant : participants) participant->close_removed();
}

KOMBU_POOL_INLINE void GroupRegistry::apply(const detail::ResizeParticipants& participants) {
    for (const auto& participant : participants) participant->apply();
    for (const auto& participant : participants) participant->unlock();
}

KOMBU_POOL_INLINE void GroupRegistry::remove(const GroupBase& group) noexcept {
    const auto lock = state_.lock();
    State state = state_.get();
    std::erase_if(state.members, [&](const Member& member) { return member.group == &group; });
    state_.set(std::move(state));
}

}  // namespace kombu
