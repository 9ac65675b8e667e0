// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/pool/resource_pool.hpp>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

struct Thing {
    explicit Thing(int number) : id(number) {}
    const int id;
    std::atomic<bool> dead{false};
    std::atomic<int> closed{0};
    std::atomic<int> interrupted{0};
    std::atomic<int> users{0};
};

/// Creates Things by a script, and counts those created and closed. Without a script every step succeeds.
class ScriptedFactory {
public:
    using Step = std::function<void()>;

    /// Runs once, in the next create (prepare, recycle) before it succeeds; may throw or block.
    void on_create(Step step) { push(creates_, std::move(step)); }
    void on_prepare(Step step) { push(prepares_, std::move(step)); }
    void on_recycle(Step step) { push(recycles_, std::move(step)); }
    static Step fails(const std::string& why) {
        return [why] { throw std::runtime_error(why); };
    }

    int created() const { return created_; }
    int closed() const { return closed_; }
    int live() const { return created_ - closed_; }
    int most_live() const { return most_live_; }
    kombu::Deadline last_deadline() {
        std::lock_guard lock{mutex_};
        return last_deadline_;
    }

    kombu::ResourceFactory<Thing> hooks() {
        kombu::ResourceFactory<Thing> hooks;
        hooks.create = [this](kombu::Deadline deadline) {
            {
                std::lock_guard lock{mutex_};
                last_deadline_ = deadline;
            }
            run(creates_);
            const int live = ++created_ - closed_;
            for (int most = most_live_; live > most && !most_live_.compare_exchange_weak(most, live);) {
            }
            return std::make_shared<Thing>(created_);
        };
        hooks.prepare = [this](Thing& thing, kombu::Deadline) {
            run(prepares_);
            return !thing.dead;
        };
        hooks.recycle = [this](Thing& thing, bool unwinding) {
            run(recycles_);
            return !unwinding && !thing.dead;
        };
        hooks.close = [this](Thing& thing) {
            if (++thing.closed != 1) closed_twice = true;
            ++closed_;
        };
        hooks.interrupt = [](Thing& thing) { ++thing.interrupted; };
        return hooks;
    }

    /// Without prepare and recycle, so that acquire and release use the fast path.
    kombu::ResourceFactory<Thing> plain_hooks() {
        auto plain = hooks();
        plain.prepare = nullptr;
        plain.recycle = nullptr;
        return plain;
    }
    /// Without prepare and recycle, but with validate.
    kombu::ResourceFactory<Thing> validating_hooks() {
        auto validating = plain_hooks();
        validating.validate = [this](Thing& thing) {
            ++validated;
            return !thing.dead;
        };
        return validating;
    }

    std::atomic<bool> closed_twice{false};
    std::atomic<int> validated{0};

private:
    void push(std::deque<Step>& script, Step step) {
        std::lock_guard lock{mutex_};
        script.push_back(std::move(step));
    }
    void run(std::deque<Step>& script) {
        Step step;
        {
            std::lock_guard lock{mutex_};
            if (script.empty()) return;
            step = std::move(script.front());
            script.pop_front();
        }
        step();
    }

    std::mutex mutex_;
    std::deque<Step> creates_, prepares_, recycles_;
    std::atomic<int> created_{0}, closed_{0}, most_live_{0};
    kombu::Deadline last_deadline_ = kombu::Deadline::never();
};
