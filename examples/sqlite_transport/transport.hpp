// SPDX-License-Identifier: BSD-3-Clause
// A transport of one's own: an SQLite database is the broker. It has the default exchange only; what it does not have
// is an error.
#pragma once

#include <kombu/transport.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store.hpp"

namespace sqlite_transport {

namespace async = kombu::async;
using kombu::Deadline;

constexpr std::chrono::milliseconds poll_interval{20};

class SqliteChannel final : public kombu::TransportChannel {
    /// Runs a step. When the broker refuses it, the channel is closed, as AMQP has it.
    template <class Step>
    auto guarded(Step step) {
        check_open();
        try {
            return step();
        } catch (const kombu::ChannelError&) {
            close_nowait();
            throw;
        }
    }

public:
    SqliteChannel(std::shared_ptr<Store> store, std::shared_ptr<std::atomic<bool>> ended)
        : store_(std::move(store)), ended_(std::move(ended)) {}
    ~SqliteChannel() override { SqliteChannel::close_nowait(); }

    bool is_open() const noexcept override { return open_ && !*ended_; }
    void check_open() const override {
        if (*ended_) throw kombu::ConnectionError("the connection to the database was closed");
        if (!open_) throw kombu::ChannelError("the channel is closed");
    }
    std::size_t unsettled() const noexcept override { return unsettled_.size() + consumers_.size(); }
    async::Operation<> close(Deadline) override { return close_nowait(), async::Operation<>::completed(); }
    bool close_nowait() noexcept override {
        open_ = false;
        if (!store_->is_inherited())  // a forked child leaves its parent's messages alone
            for (const auto& [tag, message] : unsettled_) try_to_give_back(message.id);
        unsettled_.clear();
        consumers_.clear();
        inbox_.clear();
        return true;
    }

    async::Operation<kombu::QueueInfo> queue_declare(const kombu::Queue& queue, Deadline) override {
        co_return guarded([&] { return declare(queue); });
    }
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline) override {
        co_return guarded([&] { return store_->purge(name); });
    }
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool if_unused, bool if_empty,
                                                 Deadline) override {
        co_return guarded([&] {
            if (if_unused) refuse("if_unused");  // who else uses it, it cannot know
            const std::uint32_t count = store_->size(name);
            if (!store_->erase(name, if_empty))
                throw kombu::ChannelError("PRECONDITION_FAILED - the queue is not empty", 406);
            return count;
        });
    }
    async::Operation<> basic_publish(const kombu::OutgoingMessage& message, Deadline, kombu::OptionalTimeout) override {
        const kombu::MessageMetadata& to = *message.metadata;
        const bool has_queue = guarded([&] {
            if (!to.exchange.empty()) refuse("an exchange");
            if (to.properties.expiration) refuse("an expiration");
            if (to.properties.priority.value_or(0) != 0) refuse("a priority");
            return store_->put(to.routing_key, Store::write(to.properties), message.body);
        });
        if (!has_queue && to.mandatory) throw kombu::Unroutable("no queue is named '" + to.routing_key + "'", 312);
        return async::Operation<>::completed();  // nothing to wait for
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                                 Deadline) override {
        co_return guarded([&] { return receive(std::string{queue}, no_ack, nullptr); });
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> wait_for_message(const kombu::Queue& queue, bool no_ack,
                                                                        Deadline until) override {
        for (;;) {
            // Also checks, after each wait, whether interrupt() was called.
            auto delivery = guarded([&] { return receive(queue.name(), no_ack, nullptr); });
            if (delivery || until.expired()) co_return delivery;
            const async::Wait wait{.until = std::min(until, Deadline::after(poll_interval))};
            co_await wait;
        }
    }
    async::Operation<> basic_ack(std::uint64_t tag, Deadline) override {
        return settle_later(tag, async::Settlement::acknowledge), async::Operation<>::completed();
    }
    async::Operation<> basic_reject(std::uint64_t tag, bool requeue, Deadline) override {
        settle_later(tag, requeue ? async::Settlement::requeue : async::Settlement::reject);
        return async::Operation<>::completed();
    }
    async::Operation<> basic_qos(std::uint16_t prefetch_count, Deadline) override {
        check_open();
        return prefetch_count_ = prefetch_count, async::Operation<>::completed();
    }
    async::Operation<> basic_consume(const kombu::Queue& queue, const kombu::ConsumeOptions& options,
                                     Deadline) override {
        guarded([&] {
            store_->check_exists(queue.name());
            if (options.exclusive || options.priority) refuse("an exclusive consumer, or one with a priority");
            if (consumers_.contains(options.tag)) throw kombu::ChannelError("the consumer tag is in use", 530);
            consumers_[options.tag] = std::make_shared<Consumer>(
                Consumer{options.tag, queue.name(), options.no_ack, std::max<std::size_t>(prefetch_count_, 1)});
        });
        return async::Operation<>::completed();
    }
    async::Operation<> basic_cancel(std::string_view tag, Deadline) override {
        check_open();
        return consumers_.erase(std::string{tag}), async::Operation<>::completed();
    }
    std::optional<kombu::ConsumerEvent> next_event() override {
        if (inbox_.empty()) return std::nullopt;
        kombu::ConsumerEvent event = std::move(inbox_.front());
        inbox_.pop_front();
        const auto consumer = consumers_.find(event.tag);
        if (consumer != consumers_.end() && consumer->second->no_ack) --consumer->second->held;
        return event;
    }
    bool has_event() const noexcept override { return !inbox_.empty(); }
    void settle_later(std::uint64_t tag, async::Settlement settlement) override {
        guarded([&] {
            const auto found = unsettled_.find(tag);
            if (found == unsettled_.end())
                throw kombu::ChannelError("PRECONDITION_FAILED - unknown delivery tag " + std::to_string(tag), 406);
            if (settlement == async::Settlement::requeue)
                store_->give_back(found->second.id);
            else
                store_->remove(found->second.id);
            if (found->second.consumer) --found->second.consumer->held;
            unsettled_.erase(found);
        });
    }
    void requeue_later(std::span<const std::uint64_t> tags) override {
        for (const std::uint64_t tag : tags) settle_later(tag, async::Settlement::requeue);
    }
    void acknowledge_until(std::uint64_t tag) override {
        while (!unsettled_.empty() && unsettled_.begin()->first <= tag)
            settle_later(unsettled_.begin()->first, async::Settlement::acknowledge);
    }
    async::Operation<> flush(Deadline) override { return check_open(), async::Operation<>::completed(); }
    async::Operation<> basic_recover(Deadline) override {
        check_open();
        std::erase_if(inbox_, [&](const auto& event) {
            return event.delivery && unsettled_.contains(event.delivery->info.delivery_tag);
        });
        while (!unsettled_.empty()) settle_later(unsettled_.begin()->first, async::Settlement::requeue);
        return async::Operation<>::completed();
    }

    // What a directory is not.
    async::Operation<> exchange_declare(const kombu::Exchange&, Deadline) override {
        guarded([] { refuse("an exchange"); });
        return async::Operation<>::completed();
    }
    async::Operation<> exchange_delete(std::string_view, bool, Deadline) override {
        guarded([] { refuse("an exchange"); });
        return async::Operation<>::completed();
    }
    async::Operation<> queue_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                  Deadline) override {
        guarded([] { refuse("a binding"); });
        return async::Operation<>::completed();
    }
    async::Operation<> queue_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                    Deadline) override {
        guarded([] { refuse("a binding"); });
        return async::Operation<>::completed();
    }
    async::Operation<> exchange_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                     Deadline) override {
        guarded([] { refuse("a binding"); });
        return async::Operation<>::completed();
    }
    async::Operation<> exchange_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                       Deadline) override {
        guarded([] { refuse("a binding"); });
        return async::Operation<>::completed();
    }
    async::Operation<> publish_later(const kombu::OutgoingMessage&, const std::string&, std::chrono::milliseconds,
                                     Deadline) override {
        guarded([] { refuse("a delay"); });
        return async::Operation<>::completed();
    }

    /// Takes messages for the consumers in turn, as many as each may hold.
    void fill_inbox() {
        for (auto i = consumers_.begin(); i != consumers_.end();)
            if (store_->exists(i->second->queue))
                ++i;
            else  // as a broker that cancels it
                inbox_.push_back({i->first, nullptr}), i = consumers_.erase(i);
        for (bool found = true; found;) {
            found = false;
            for (const auto& [tag, consumer] : consumers_) {
                if (consumer->held >= consumer->prefetch_count) continue;
                auto delivery = receive(consumer->queue, consumer->no_ack, consumer);
                found |= delivery != nullptr;
                if (delivery) inbox_.push_back({tag, std::move(delivery)});
            }
        }
    }

private:
    struct Consumer {
        std::string tag{};
        std::string queue{};
        bool no_ack = false;
        std::size_t prefetch_count = 1;
        std::size_t held = 0;  // that are not settled; without acknowledgements, that are in the inbox
    };
    struct Unsettled {
        std::int64_t id = 0;
        std::shared_ptr<Consumer> consumer{};  // null for a message of basic_get
    };

    kombu::QueueInfo declare(const kombu::Queue& queue) {
        const kombu::QueueOptions& options = queue.options();
        // What is left of them must be the default: an option that is ignored would be a lie.
        if (options.exclusive || options.auto_delete || options.expires) refuse("a queue that ends by itself");
        if (options.message_ttl || options.max_length || options.max_length_bytes || options.overflow)
            refuse("a limit of a queue");
        if (options.max_priority || options.type || options.single_active_consumer || options.delivery_limit)
            refuse("such a queue");
        if (options.dead_letter_exchange || options.dead_letter_routing_key) refuse("dead letters");
        if (!options.queue_arguments.empty() || !options.bindings.empty()) refuse("arguments and bindings");
        if (options.passive)
            store_->check_exists(queue.name());
        else
            store_->declare(queue.name());
        return {queue.name(), store_->size(queue.name()), 0};
    }
    [[noreturn]] static void refuse(const std::string& what) {
        throw kombu::ChannelError("NOT_IMPLEMENTED - an SQLite database does not have " + what, 540);
    }
    std::unique_ptr<kombu::Delivery> receive(const std::string& queue, bool no_ack,
                                             const std::shared_ptr<Consumer>& consumer) {
        std::int64_t id = 0;
        store_->check_exists(queue);
        auto delivery = store_->take(queue, id);
        if (!delivery) return nullptr;
        delivery->info.delivery_tag = ++last_tag_;
        if (no_ack)
            store_->remove(id);
        else
            unsettled_[last_tag_] = {id, consumer};
        if (consumer) ++consumer->held;
        return delivery;
    }
    /// When this fails, the message comes again all the same, only later.
    void try_to_give_back(std::int64_t id) noexcept {
        try {
            store_->give_back(id);
        } catch (const std::exception&) {
        }
    }

    std::shared_ptr<Store> store_;
    std::shared_ptr<std::atomic<bool>> ended_;
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, Unsettled> unsettled_;
    std::uint16_t prefetch_count_ = 0;
    std::map<std::string, std::shared_ptr<Consumer>> consumers_;
    std::deque<kombu::ConsumerEvent> inbox_;
};

class SqliteConnection final : public kombu::TransportConnection {
public:
    explicit SqliteConnection(std::shared_ptr<Store> store) : store_(std::move(store)) {}
    ~SqliteConnection() override { *ended_ = true; }

    async::Operation<std::shared_ptr<kombu::TransportChannel>> open_channel(Deadline) override {
        if (*ended_) throw kombu::ConnectionError("the connection to the database was closed");
        auto channel = std::make_shared<SqliteChannel>(store_, ended_);
        std::erase_if(channels_, [](const auto& weak) { return weak.expired(); });
        channels_.push_back(channel);
        co_return channel;
    }
    async::Operation<> await_events(Deadline until, Deadline wake_at, bool wakeable) override {
        bool has_event = false;
        for (const auto& weak : channels_)
            if (const auto channel = weak.lock(); channel && channel->is_open()) {
                channel->fill_inbox();
                has_event |= channel->has_event();
            }
        if (*ended_) throw kombu::ConnectionError("the connection to the database was closed");
        if (has_event) co_return;
        const Deadline next_look = std::min({until, wake_at, Deadline::after(poll_interval)});
        const async::Wait wait{.signal = wakeable, .until = next_look};
        co_await wait;
    }
    bool is_open() const noexcept override { return !*ended_; }
    bool is_alive() noexcept override { return is_open(); }
    async::Operation<> close(Deadline) override { return abandon(), async::Operation<>::completed(); }
    void abandon() noexcept override {
        for (const auto& weak : channels_)
            if (const auto channel = weak.lock()) channel->close_nowait();
        *ended_ = true;
    }
    void interrupt() noexcept override { *ended_ = true; }

private:
    std::shared_ptr<Store> store_;
    std::shared_ptr<std::atomic<bool>> ended_ = std::make_shared<std::atomic<bool>>(false);
    std::vector<std::weak_ptr<SqliteChannel>> channels_;
};

class SqliteTransport final : public kombu::Transport {
public:
    /// The file alone identifies the broker: it is the virtual host.
    void normalise(kombu::Endpoint& endpoint) const override {
        const std::filesystem::path file{endpoint.virtual_host};
        if (!file.is_absolute() || !file.has_filename())
            throw kombu::ConfigurationError("the virtual host of sqlite:// must be the absolute path of a file");
        endpoint = {.virtual_host = file.lexically_normal()};
    }
    kombu::Json option_defaults() const override { return {{"visibility_timeout", 1800.0}}; }  // seconds
    void check_option(const std::string& name, kombu::Json& value) const override {
        if (!value.is_number() || value.get<double>() <= 0 || value.get<double>() > 1e6)
            throw kombu::ConfigurationError(name + ": must be a number of seconds, up to 1,000,000");
    }
    async::Operation<std::shared_ptr<kombu::TransportConnection>> connect(const kombu::Endpoint& endpoint,
                                                                          const kombu::ConnectionParameters& parameters,
                                                                          Deadline) const override {
        const double seconds = parameters.transport_options.at("visibility_timeout");
        const std::chrono::milliseconds timeout{static_cast<std::int64_t>(seconds * 1000)};
        co_return std::make_shared<SqliteConnection>(std::make_shared<Store>(endpoint.virtual_host, timeout));
    }
};

}  // namespace sqlite_transport
