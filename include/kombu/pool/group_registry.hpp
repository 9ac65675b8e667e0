// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/config.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/pool/detail/any_pool.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace kombu {

class GroupRegistry;
namespace detail {
class ResizeParticipant;
}

/// What a registry needs of a group, whatever the types of its keys and pools.
class KOMBU_EXPORT GroupBase {
public:
    GroupBase(const GroupBase&) = delete;
    GroupBase& operator=(const GroupBase&) = delete;

    /// Whether the group takes its limit from its registry.
    virtual bool follows_global_limit() const noexcept = 0;

protected:
    GroupBase() = default;
    virtual ~GroupBase() = default;

    /// Must be called first in the destructor of the most derived class.
    void leave_registry() noexcept;

private:
    friend class GroupRegistry;
    using ResizeParticipants = std::vector<std::unique_ptr<detail::ResizeParticipant>>;

    /// Locks the group, and adds it and its pools to the participants.
    virtual void add_participants(std::size_t limit, const ResizeOptions& options,
                                  ResizeParticipants& participants) = 0;
    /// Adds the pools, which are then used with no lock held.
    virtual void collect_pools(detail::AnyPools& pools) const = 0;
    /// Resets the pools with the group's lock held, when there is no memory for collect_pools().
    virtual void reset_under_lock() noexcept = 0;

    std::atomic<GroupRegistry*> registry_{nullptr};
};

/// Groups that share one limit and are reset together. `kombu::pools` has one for the whole process.
///
/// \par Thread safety
/// Every member may be called from any thread. Locks are taken in the order registry, group, pool.
/// \par Lifetime
/// A registry must outlive its groups.
class KOMBU_EXPORT GroupRegistry {
public:
    /// \param limit  of every pool of the groups that follow it
    explicit GroupRegistry(std::size_t limit) : state_({limit, {}}) {}
    GroupRegistry(const GroupRegistry&) = delete;
    GroupRegistry& operator=(const GroupRegistry&) = delete;

    /// The limit that new pools get.
    std::size_t limit() const;

    /// Changes the limit of this registry and of every pool of every group that follows it.
    /// \param limit  0 means unlimited
    /// \param options  what may happen to resources in use
    /// \throws PoolInUse  when one pool refuses; nothing has changed anywhere then
    void set_limit(std::size_t limit, const ResizeOptions& options = {});

    /// Resets every pool of every group that was added. The pools stay valid.
    void reset() noexcept;

    /// Closes every pool of every group that was added, then waits until all leases are back; see
    /// ResourcePool::close_and_wait.
    /// \param timeout  for all pools together
    /// \return the number of leases that are not back
    std::size_t close_and_wait(OptionalTimeout timeout = {});

    /// The statistics of every pool of every group that was added.
    std::vector<PoolStats> stats() const;

    /// Registers a group for reset() and stats(), and for set_limit() when it follows the global limit. A group leaves
    /// the registry when it is destroyed. A second call has no effect.
    /// \throws ConfigurationError  when the group belongs to another registry
    void add(GroupBase& group) { register_group(group, true); }

    /// Registers a group for set_limit() only.
    /// \throws ConfigurationError  when the group belongs to another registry
    void follow_limit(GroupBase& group) { register_group(group, false); }

private:
    friend class GroupBase;
    struct Unlocker;
    struct Member {
        std::shared_ptr<std::atomic<GroupBase*>> group;  // null when it has left
        bool resets;
    };
    struct State {
        std::size_t limit;
        std::vector<Member> members;
    };

    /// With the lock.
    detail::AnyPools collect_pools() const;
    void register_group(GroupBase& group, bool resets);
    void remove(const GroupBase& group) noexcept;
    static void apply(const GroupBase::ResizeParticipants& participants) noexcept;

    detail::CopyOnWrite<State> state_;
};

}  // namespace kombu
