// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>
#include <kombu/pool/detail/pool_core.hpp>
#include <kombu/pool/detail/resize_step.hpp>
#include <kombu/pool/factory.hpp>
#include <kombu/pool/lease.hpp>
#include <kombu/pool/options.hpp>
#include <kombu/pool/stats.hpp>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace kombu::detail {

/// The threaded front of a PoolCore: one mutex, the resources, and the factory, which is never called under the mutex.
///
/// Owned by its users, who are counted under the mutex: the pool itself, each call inside acquire(), each lease. The
/// last one to leave deletes it, so leases may outlive the pool.
template <class T>
class PoolState {
public:
    PoolState(ResourceFactory<T> factory, PoolOptions options)
        : factory_(std::move(factory)), name_(std::move(options.name)), core_(options.limit) {}

    Lease<T> acquire(const AcquireOptions& options) {
        const auto start = options.block ? Clock::now() : Clock::time_point{};
        const Acquisition acquisition{Deadline::after(options.timeout), options.block};
        Entry entry{*this};
        for (;;) {
            const Decision decision = decide(acquisition, start);
            Holding holding{*this, decision.slot};
            try {
                std::shared_ptr<T> resource =
                    decision.grant == Grant::create ? create(holding, acquisition) : prepare(holding, acquisition);
                if (!resource) continue;
                std::lock_guard lock{mutex_};
                // Dragged away by a reset while it was being prepared: it goes, and the caller gets another.
                if (core_.state(decision.slot) == PoolCore::SlotState::orphaned) continue;
                ++acquired_;
                return entry.to_lease(holding.keep(), resource.get());
            } catch (const LimitExceeded&) {
                throw;  // nested pools: the inner one has said it all
            } catch (const std::exception& error) {
                std::lock_guard lock{mutex_};
                last_error_ = error.what();
                throw;
            }
        }
    }

    void give_back(SlotId slot, T& resource, bool discard, bool unwinding) noexcept {
        const bool keep = !discard && factory_.keeps(resource, unwinding);
        if (!keep) factory_.shut(resource);
        std::unique_lock lock{mutex_};
        std::shared_ptr<T> gone;
        const auto now = now_if_waiting();
        if (!keep) {
            gone = std::move(resources_[slot]);
            ++closed_;
            ++discarded_;
            core_.discard(slot, now);
        } else if (core_.release(slot, now) == PoolCore::Returned::close) {
            gone = std::move(resources_[slot]);
            ++closed_;
            lock.unlock();
            factory_.shut(*gone);
            gone.reset();
            lock.lock();
        }
        leave(std::move(lock));
    }

    std::unique_ptr<ResizeStep> begin_resize(std::size_t limit, const ResizeOptions& options) {
        return std::make_unique<Resize>(*this, limit, options);
    }

    void reset(bool close_pool) noexcept {
        std::unique_lock lock{mutex_};
        if (core_.closed()) return;
        Removed removed;
        if (close_pool) removed = take({core_.close(), {}});  // first, so that waiters hear of it
        Removed rest = take(core_.reset(now_if_waiting()));
        lock.unlock();
        finish(rest);
        finish(removed);
    }

    void close() noexcept {
        std::unique_lock lock{mutex_};
        if (core_.closed()) return;
        Removed removed = take({core_.close(), {}});
        lock.unlock();
        finish(removed);
    }

    /// The pool is going away: nobody new comes in.
    void abandon() noexcept {
        close();
        leave(std::unique_lock{mutex_});
    }

    PoolStats stats() const {
        std::lock_guard lock{mutex_};
        return {core_.limit(), core_.leased(), core_.idle(), core_.creating(), core_.waiting(),
                created_,      closed_,        acquired_,    timeouts_,        discarded_};
    }

    const std::string& name() const noexcept { return name_; }

private:
    struct Removed {
        std::vector<std::shared_ptr<T>> close{};
        std::vector<std::shared_ptr<T>> interrupt{};
    };

    /// One user inside acquire(); its count passes to the lease.
    class Entry {
    public:
        explicit Entry(PoolState& state) : state_(&state) {
            std::lock_guard lock{state.mutex_};
            ++state.users_;
        }
        Entry(const Entry&) = delete;
        Entry& operator=(const Entry&) = delete;
        ~Entry() {
            if (state_) state_->leave(std::unique_lock{state_->mutex_});
        }
        Lease<T> to_lease(SlotId slot, T* resource) noexcept {
            return Lease<T>{std::exchange(state_, nullptr), resource, slot};
        }

    private:
        PoolState* state_;
    };

    /// A slot between the decision and the lease. Whatever throws in between, its capacity is freed and a resource it
    /// has is kept.
    class Holding {
    public:
        Holding(PoolState& state, SlotId slot) noexcept : state_(&state), slot_(slot) {}
        Holding(const Holding&) = delete;
        Holding& operator=(const Holding&) = delete;
        ~Holding() {
            if (state_) state_->put_back(slot_);
        }
        SlotId slot() const noexcept { return slot_; }
        SlotId keep() noexcept {
            state_ = nullptr;
            return slot_;
        }
        void lost() noexcept { state_ = nullptr; }

    private:
        PoolState* state_;
        SlotId slot_;
    };

    class BlockedCall final : public Waiter {
    public:
        explicit BlockedCall(Deadline deadline) noexcept : Waiter(deadline.when()) {}
        void wake() noexcept override { woken_.notify_one(); }
        bool wait(std::unique_lock<std::mutex>& lock, Deadline deadline) {
            const auto decided = [this] { return decision.grant != Grant::none; };
            if (!deadline.is_never()) return woken_.wait_until(lock, deadline.when(), decided);
            woken_.wait(lock, decided);
            return true;
        }

    private:
        std::condition_variable woken_;
    };

    class Resize final : public ResizeStep {
    public:
        Resize(PoolState& state, std::size_t limit, const ResizeOptions& options)
            : state_(state), limit_(limit), options_(options), lock_(state.mutex_) {
            ++state_.users_;  // the pool may be destroyed between unlock() and finish()
        }
        Resize(const Resize&) = delete;
        Resize& operator=(const Resize&) = delete;
        ~Resize() override {
            if (!lock_.owns_lock()) lock_.lock();
            state_.leave(std::move(lock_));
        }
        void check() const override {
            const PoolCore& core = state_.core_;
            if (core.closed() || core.may_resize(limit_, options_)) return;
            throw PoolInUse((state_.name_.empty() ? "pool" : state_.name_) + ": cannot shrink while in use: limit " +
                            std::to_string(core.limit()) + ", wanted " + std::to_string(limit_) + ", in use " +
                            std::to_string(core.leased() + core.creating()));
        }
        void apply() override {
            if (!state_.core_.closed())
                removed_ = state_.take(state_.core_.set_limit(limit_, options_, state_.now_if_waiting()));
        }
        void unlock() noexcept override {
            if (lock_.owns_lock()) lock_.unlock();
        }
        void finish() noexcept override { state_.finish(removed_); }

    private:
        PoolState& state_;
        std::size_t limit_;
        ResizeOptions options_;
        std::unique_lock<std::mutex> lock_;
        Removed removed_;
    };

    ~PoolState() = default;

    Decision decide(const Acquisition& acquisition, Clock::time_point start) {
        std::unique_lock lock{mutex_};
        Decision decision = core_.acquire();
        if (decision.grant == Grant::full && acquisition.block) {
            BlockedCall call{acquisition.deadline};
            core_.enqueue(call);
            if (!call.wait(lock, acquisition.deadline) && core_.abandon(call)) call.decision.grant = Grant::timed_out;
            decision = call.decision;
        }
        switch (decision.grant) {
            case Grant::closed: throw PoolClosed((name_.empty() ? "pool" : name_) + ": acquire on a closed pool");
            case Grant::timed_out: ++timeouts_; [[fallthrough]];
            case Grant::full: {
                LimitReport report{name_,        core_.limit(),    core_.leased(),
                                   core_.idle(), core_.creating(), core_.waiting(),
                                   {},           last_error_};
                lock.unlock();
                if (acquisition.block) report.waited = Clock::now() - start;
                if (report.last_error.empty() && factory_.last_error) report.last_error = factory_.last_error();
                factory_.limit_exceeded(std::move(report));
            }
            default: return decision;
        }
    }

    /// Fills a reserved slot. Null when the pool was reset away under it.
    std::shared_ptr<T> create(Holding& holding, const Acquisition& acquisition) {
        for (;;) {
            std::shared_ptr<T> fresh = factory_.create(acquisition);
            if (!fresh) throw Error("the factory of the pool made nothing");
            try {
                if (factory_.prepare && !factory_.prepare(*fresh, acquisition))
                    throw OperationalError("a new resource of the pool was not usable");
            } catch (...) {
                factory_.shut(*fresh);
                count_made_in_vain();
                throw;
            }
            std::unique_lock lock{mutex_};
            ++created_;
            if (resources_.size() <= holding.slot()) resources_.resize(core_.slots());
            const auto outcome = core_.created(holding.slot());
            if (outcome == PoolCore::Created::leased) {
                resources_[holding.slot()] = fresh;
                return fresh;
            }
            ++closed_;
            lock.unlock();
            factory_.shut(*fresh);
            if (outcome == PoolCore::Created::closed) {
                holding.lost();
                throw PoolClosed((name_.empty() ? "pool" : name_) + ": closed while a resource was being created");
            }
        }
    }

    /// Brings an existing resource to life; a dead one is replaced.
    std::shared_ptr<T> prepare(Holding& holding, const Acquisition& acquisition) {
        std::shared_ptr<T> resource;
        {
            std::lock_guard lock{mutex_};
            resource = resources_[holding.slot()];
        }
        if (!factory_.prepare || factory_.prepare(*resource, acquisition)) return resource;
        factory_.shut(*resource);
        {
            std::lock_guard lock{mutex_};
            resources_[holding.slot()].reset();
            ++closed_;
            ++discarded_;
            if (!core_.recreate(holding.slot())) {
                holding.lost();
                return nullptr;
            }
        }
        return create(holding, acquisition);
    }

    void put_back(SlotId slot) noexcept {
        std::unique_lock lock{mutex_};
        const auto now = now_if_waiting();
        if (core_.state(slot) == PoolCore::SlotState::creating) return core_.create_failed(slot, now);
        if (core_.release(slot, now) == PoolCore::Returned::kept) return;
        std::shared_ptr<T> gone = std::move(resources_[slot]);
        ++closed_;
        lock.unlock();
        factory_.shut(*gone);
    }

    void count_made_in_vain() noexcept {
        std::lock_guard lock{mutex_};
        ++created_;
        ++closed_;
    }

    /// With the lock held: the resources of evicted slots.
    Removed take(const PoolCore::Evicted& evicted) {
        Removed removed;
        for (SlotId slot : evicted.idle) removed.close.push_back(std::move(resources_[slot]));
        for (SlotId slot : evicted.leased) removed.interrupt.push_back(resources_[slot]);
        closed_ += evicted.idle.size();
        return removed;
    }

    void finish(Removed& removed) noexcept {
        for (auto& resource : removed.interrupt)
            if (factory_.interrupt) factory_.interrupt(*resource);
        for (auto& resource : removed.close) factory_.shut(*resource);
        removed = {};
    }

    /// A clock reading costs as much as the whole cycle; only waiters have deadlines to compare it with.
    Clock::time_point now_if_waiting() const noexcept {
        return core_.waiting() != 0 ? Clock::now() : Clock::time_point{};
    }

    void leave(std::unique_lock<std::mutex> lock) noexcept {
        const bool last = --users_ == 0;
        lock.unlock();
        if (last) delete this;
    }

    const ResourceFactory<T> factory_;
    const std::string name_;
    mutable std::mutex mutex_;
    PoolCore core_;
    std::vector<std::shared_ptr<T>> resources_;
    std::size_t users_ = 1;
    std::uint64_t created_ = 0, closed_ = 0, acquired_ = 0, timeouts_ = 0, discarded_ = 0;
    std::string last_error_;
};

}  // namespace kombu::detail
