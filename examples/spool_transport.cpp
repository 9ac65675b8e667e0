// SPDX-License-Identifier: BSD-3-Clause
// A transport of one's own: a directory is the broker, each queue a directory within it, each message a file. It has
// the default exchange only. Messages survive the processes, which share the directory.
//
//     spool_transport DIRECTORY [MESSAGES]        publishes and receives them through the pools
#include <kombu/kombu.hpp>
#include <kombu/transport.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
namespace async = kombu::async;
namespace fs = std::filesystem;
using kombu::Deadline, kombu::Json;

namespace {

constexpr auto poll_interval = 20ms;

/// The files. Taking one renames it, which only one process can do.
class Spool {
public:
    explicit Spool(fs::path root) : root_(std::move(root)) {
        fs::create_directories(root_ / ".new");
        fs::create_directories(root_ / ".taken");
    }
    fs::path queue(std::string_view name) const {
        if (name.empty() || name.front() == '.' || name.find('/') != std::string_view::npos)
            throw kombu::ChannelError("a queue of a spool cannot be named '" + std::string{name} + "'", 403);
        return root_ / name;
    }
    fs::path existing(std::string_view name) const {
        if (!fs::exists(queue(name)))
            throw kombu::ChannelError("NOT_FOUND - no queue '" + std::string{name} + "'", 404);
        return queue(name);
    }
    std::set<fs::path> messages(std::string_view name) const {
        const fs::directory_iterator files{existing(name)};
        return {begin(files), end(files)};
    }
    void put(std::string_view name, const kombu::OutgoingMessage& message) const {
        static std::atomic<unsigned> last{0};
        char unique[64];  // in the order of time
        std::snprintf(unique, sizeof unique, "%020lld-%d-%08u",
                      static_cast<long long>(std::chrono::system_clock::now().time_since_epoch().count()), ::getpid(),
                      ++last);
        const kombu::Properties& properties = message.metadata->properties;
        const std::string_view body = message.body;
        const std::vector<std::uint8_t> data = Json::to_msgpack({
            {"body", Json::binary({body.begin(), body.end()})},
            {"content_type", properties.content_type.value_or("")},
            {"content_encoding", properties.content_encoding.value_or("")},
            {"headers", properties.headers},
        });
        std::ofstream file{root_ / ".new" / unique, std::ios::binary};
        file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
        file.close();
        if (!file) throw kombu::ConnectionError("cannot write to " + root_.string());
        fs::rename(root_ / ".new" / unique, queue(name) / unique);
    }
    std::unique_ptr<kombu::Delivery> take(std::string_view name, fs::path& taken) const {
        for (const fs::path& file : messages(name)) {
            taken = root_ / ".taken" / file.filename();
            std::error_code failed;
            fs::rename(file, taken, failed);
            if (failed) continue;  // another process was faster
            std::ifstream stream{taken, std::ios::binary};
            auto delivery = std::make_unique<kombu::Delivery>();
            delivery->info.routing_key = name;
            const Json data = Json::from_msgpack(stream, true, false);
            if (!data.is_object() || !data.contains("body")) {  // it can be settled, and says why it cannot be read
                delivery->header_error = "the file " + taken.string() + " is not a message";
                return delivery;
            }
            const auto& body = data.at("body").get_binary();
            delivery->body.assign(body.begin(), body.end());
            delivery->properties.content_type = data.at("content_type");
            delivery->properties.content_encoding = data.at("content_encoding");
            delivery->properties.headers = data.at("headers");
            return delivery;
        }
        return nullptr;
    }

private:
    fs::path root_;
};

class SpoolChannel final : public kombu::TransportChannel {
public:
    SpoolChannel(std::shared_ptr<const Spool> spool, std::shared_ptr<std::atomic<bool>> ended)
        : spool_(std::move(spool)), ended_(std::move(ended)) {}
    ~SpoolChannel() override { SpoolChannel::close_nowait(); }

    bool is_open() const noexcept override { return open_ && !*ended_; }
    void check_open() const override {
        if (*ended_) throw kombu::ConnectionError("the spool's connection was closed");
        if (!open_) throw kombu::ChannelError("the channel is closed");
    }
    std::size_t unsettled() const noexcept override { return unsettled_.size() + consumers_.size(); }
    async::Operation<> close(Deadline) override { return close_nowait(), async::Operation<>::completed(); }
    bool close_nowait() noexcept override {
        open_ = false;
        if (::getpid() == owner_)  // a forked child leaves its parent's messages alone
            for (const auto& [tag, message] : unsettled_) give_back(message);
        unsettled_.clear();
        consumers_.clear();
        inbox_.clear();
        return true;
    }

    async::Operation<kombu::QueueInfo> queue_declare(const kombu::Queue& queue, Deadline) override {
        check_open();
        fs::create_directory(spool_->queue(queue.name()));
        co_return kombu::QueueInfo{queue.name(), static_cast<std::uint32_t>(spool_->messages(queue.name()).size()), 0};
    }
    async::Operation<std::uint32_t> queue_purge(std::string_view name, Deadline) override {
        std::uint32_t count = 0;
        for (const fs::path& file : spool_->messages(name)) count += fs::remove(file) ? 1 : 0;
        co_return count;
    }
    async::Operation<std::uint32_t> queue_delete(std::string_view name, bool, bool if_empty, Deadline) override {
        const auto count = static_cast<std::uint32_t>(spool_->messages(name).size());
        if (if_empty && count != 0) throw kombu::ChannelError("PRECONDITION_FAILED - the queue is not empty", 406);
        fs::remove_all(spool_->queue(name));
        co_return count;
    }
    async::Operation<> basic_publish(const kombu::OutgoingMessage& message, Deadline, kombu::OptionalTimeout) override {
        check_open();
        const kombu::MessageMetadata& to = *message.metadata;
        if (!to.exchange.empty()) refuse("an exchange");
        if (fs::exists(spool_->queue(to.routing_key)))
            spool_->put(to.routing_key, message);
        else if (to.mandatory)
            throw kombu::Unroutable("no queue is named '" + to.routing_key + "'", 312);
        return async::Operation<>::completed();  // nothing to wait for
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> basic_get(std::string_view queue, bool no_ack,
                                                                 Deadline) override {
        check_open();
        co_return receive(std::string{queue}, no_ack);
    }
    async::Operation<std::unique_ptr<kombu::Delivery>> wait_for_message(const kombu::Queue& queue, bool no_ack,
                                                                        Deadline until) override {
        for (;;) {
            check_open();  // also after each wait: interrupt() may have been called
            auto delivery = receive(queue.name(), no_ack);
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
        return prefetch_count_ = prefetch_count, async::Operation<>::completed();
    }
    async::Operation<> basic_consume(const kombu::Queue& queue, const kombu::ConsumeOptions& options,
                                     Deadline) override {
        check_open();
        (void)spool_->existing(queue.name());
        consumers_[options.tag] = {queue.name(), options.no_ack, options.no_ack ? 0u : prefetch_count_};
        return async::Operation<>::completed();
    }
    async::Operation<> basic_cancel(std::string_view tag, Deadline) override {
        return consumers_.erase(std::string{tag}), async::Operation<>::completed();
    }
    std::optional<kombu::ConsumerEvent> next_event() override {
        if (inbox_.empty()) return std::nullopt;
        kombu::ConsumerEvent event = std::move(inbox_.front());
        inbox_.pop_front();
        return event;
    }
    bool has_event() const noexcept override { return !inbox_.empty(); }
    void settle_later(std::uint64_t tag, async::Settlement settlement) override {
        check_open();
        const auto found = unsettled_.find(tag);
        if (found == unsettled_.end()) throw kombu::ChannelError("unknown delivery tag " + std::to_string(tag), 406);
        if (settlement == async::Settlement::requeue)
            give_back(found->second);
        else
            fs::remove(found->second.taken);
        unsettled_.erase(found);
    }
    void requeue_later(std::span<const std::uint64_t> tags) override {
        for (const std::uint64_t tag : tags) settle_later(tag, async::Settlement::requeue);
    }
    void acknowledge_until(std::uint64_t tag) override {
        while (!unsettled_.empty() && unsettled_.begin()->first <= tag)
            settle_later(unsettled_.begin()->first, async::Settlement::acknowledge);
    }
    async::Operation<> flush(Deadline) override { return async::Operation<>::completed(); }
    async::Operation<> basic_recover(Deadline) override {
        std::erase_if(inbox_,
                      [&](const auto& event) { return unsettled_.contains(event.delivery->info.delivery_tag); });
        for (const auto& [tag, message] : unsettled_) give_back(message);
        return unsettled_.clear(), async::Operation<>::completed();
    }

    // What a directory is not.
    async::Operation<> exchange_declare(const kombu::Exchange&, Deadline) override { refuse("an exchange"); }
    async::Operation<> exchange_delete(std::string_view, bool, Deadline) override { refuse("an exchange"); }
    async::Operation<> queue_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                  Deadline) override {
        refuse("a binding");
    }
    async::Operation<> queue_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                    Deadline) override {
        refuse("a binding");
    }
    async::Operation<> exchange_bind(std::string_view, std::string_view, std::string_view, const Json&,
                                     Deadline) override {
        refuse("a binding");
    }
    async::Operation<> exchange_unbind(std::string_view, std::string_view, std::string_view, const Json&,
                                       Deadline) override {
        refuse("a binding");
    }
    async::Operation<> publish_later(const kombu::OutgoingMessage&, const std::string&, std::chrono::milliseconds,
                                     Deadline) override {
        refuse("a delay");
    }

    /// Takes messages for the consumers, as many as each may have unsettled.
    void fill_inbox() {
        for (auto& [tag, consumer] : consumers_)
            while (consumer.prefetch_count == 0 ? inbox_.empty() : unsettled_.size() < consumer.prefetch_count) {
                auto delivery = receive(consumer.queue, consumer.no_ack);
                if (!delivery) break;
                inbox_.push_back({tag, std::move(delivery)});
            }
    }

private:
    struct Taken {
        fs::path taken, queue;
    };
    struct Consumer {
        std::string queue{};
        bool no_ack = false;
        std::size_t prefetch_count = 0;
    };

    [[noreturn]] static void refuse(const std::string& what) {
        throw kombu::ChannelError("NOT_IMPLEMENTED - a spool has no use for " + what, 540);
    }
    std::unique_ptr<kombu::Delivery> receive(const std::string& queue, bool no_ack) {
        fs::path taken;
        auto delivery = spool_->take(queue, taken);
        if (!delivery) return nullptr;
        delivery->info.delivery_tag = ++last_tag_;
        if (no_ack)
            fs::remove(taken);
        else
            unsettled_[last_tag_] = {taken, spool_->queue(queue) / taken.filename()};
        return delivery;
    }
    static void give_back(const Taken& message) noexcept {
        std::error_code ignored;  // the queue may have been deleted
        fs::rename(message.taken, message.queue, ignored);
    }

    std::shared_ptr<const Spool> spool_;
    std::shared_ptr<std::atomic<bool>> ended_;
    const pid_t owner_ = ::getpid();
    bool open_ = true;
    std::uint64_t last_tag_ = 0;
    std::map<std::uint64_t, Taken> unsettled_;
    std::uint16_t prefetch_count_ = 0;
    std::map<std::string, Consumer> consumers_;
    std::deque<kombu::ConsumerEvent> inbox_;
};

class SpoolConnection final : public kombu::TransportConnection {
public:
    explicit SpoolConnection(const std::string& directory) : spool_(std::make_shared<const Spool>(directory)) {}
    ~SpoolConnection() override { *ended_ = true; }

    async::Operation<std::shared_ptr<kombu::TransportChannel>> open_channel(Deadline) override {
        auto channel = std::make_shared<SpoolChannel>(spool_, ended_);
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
        if (*ended_) throw kombu::ConnectionError("the spool's connection was closed");
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
    std::shared_ptr<const Spool> spool_;
    std::shared_ptr<std::atomic<bool>> ended_ = std::make_shared<std::atomic<bool>>(false);
    std::vector<std::weak_ptr<SpoolChannel>> channels_;
};

class SpoolTransport final : public kombu::Transport {
public:
    /// The directory alone identifies the broker: it is the virtual host of the URL.
    void normalise(kombu::Endpoint& endpoint) const override {
        if (endpoint.virtual_host.empty()) throw kombu::ConfigurationError("the URL of a spool must name a directory");
        endpoint = {.virtual_host = fs::path{endpoint.virtual_host}.lexically_normal()};
    }
    async::Operation<std::shared_ptr<kombu::TransportConnection>> connect(const kombu::Endpoint& endpoint,
                                                                          const kombu::ConnectionParameters&,
                                                                          Deadline) const override {
        try {
            co_return std::make_shared<SpoolConnection>(endpoint.virtual_host);
        } catch (const fs::filesystem_error& error) {
            throw kombu::ConnectionError(error.what());
        }
    }
};

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::cerr << "usage: spool_transport DIRECTORY [MESSAGES]\n";
        return 2;
    }
    kombu::register_transport("spool", std::make_shared<SpoolTransport>());
    const kombu::Connection broker{"spool://localhost/" + fs::absolute(argv[1]).string()};
    const kombu::Queue jobs{"jobs"};
    const int count = argc > 2 ? std::atoi(argv[2]) : 100;
    for (int n = 0; n < count; ++n)
        kombu::pools::producers[broker].acquire()->publish({{"n", n}}, {.routing_key = "jobs", .declare = {jobs}});

    std::atomic<int> received = 0;
    std::stop_source stop;
    kombu::ConsumerLoop loop{broker, {jobs}, {.threads = 2}};
    loop.on_message([&](kombu::Message& message) {
        if (message.payload()["n"] == 7 && !message.redelivered() && received == 7) return message.requeue();
        if (++received == count) stop.request_stop();
    });
    loop.run(stop.get_token());
    std::cout << received << " messages through " << broker.as_uri() << '\n';
    return 0;
} catch (const std::exception& error) {
    std::cerr << "spool_transport: " << error.what() << '\n';
    return 1;
}
