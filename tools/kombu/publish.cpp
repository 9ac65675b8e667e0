// SPDX-License-Identifier: BSD-3-Clause
#include "command.hpp"
#include "line_reader.hpp"
#include "progress.hpp"

#include <kombu/batch.hpp>
#include <kombu/producer.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

namespace kombu::command {
namespace {

/// "QUEUE", or "EXCHANGE/ROUTING_KEY".
struct Target {
    explicit Target(const std::string& text) {
        const std::size_t slash = text.find('/');
        routing_key = slash == std::string::npos ? text : text.substr(slash + 1);
        if (slash != std::string::npos) exchange = text.substr(0, slash);
    }
    std::string exchange{}, routing_key{};
};

/// Sets the property that `--property` names.
void set_property(PublishOptions& options, const std::string& name, const Json& value) {
    const auto text = [&] { return value.is_string() ? value.get<std::string>() : value.dump(); };
    const auto number = [&](double most) {
        if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= most))
            throw UsageError("--property " + name + ": must be a number from 0 to " + Json(most).dump());
        return value.get<double>();
    };
    const auto integer = [&](std::uint64_t most) {
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
            throw UsageError("--property " + name + ": must be an integer from 0 to " + std::to_string(most));
        return value.get<std::uint64_t>();
    };
    const std::pair<const char*, std::optional<std::string> PublishOptions::*> texts[] = {
        {"content_type", &PublishOptions::content_type},
        {"content_encoding", &PublishOptions::content_encoding},
        {"correlation_id", &PublishOptions::correlation_id},
        {"reply_to", &PublishOptions::reply_to},
        {"message_id", &PublishOptions::message_id},
        {"type", &PublishOptions::type},
        {"user_id", &PublishOptions::user_id},
        {"app_id", &PublishOptions::app_id}};
    const auto found = std::find_if(std::begin(texts), std::end(texts), [&](const auto& t) { return t.first == name; });
    if (found != std::end(texts)) {
        options.*found->second = text();
    } else if (name == "priority") {
        options.priority = static_cast<int>(integer(255));
    } else if (name == "delivery_mode") {
        options.delivery_mode = value.is_number() ? DeliveryMode{static_cast<int>(integer(2))} : DeliveryMode{text()};
    } else if (name == "expiration") {
        options.expiration = std::chrono::duration<double>{number(4294967)};
    } else if (name == "timestamp") {
        options.timestamp = Timestamp{integer(253402300799)};
    } else {
        throw UsageError("--property: there is no property '" + name + "'");
    }
}

class PublishCommand final : public Command {
public:
    CLI::App* add_to(CLI::App& program) override {
        CLI::App* const command = program.add_subcommand("publish", "Publish messages to a queue or an exchange");
        broker_.add_to(*command);
        command->add_option("TARGET", target_, "QUEUE or EXCHANGE/ROUTING_KEY")->required();
        command->add_option("BODY", bodies_, "Messages; without one, the lines of standard input");
        command->add_option("-f,--file", file_, "Each line of a file is a message; - is standard input")
            ->type_name("FILE");
        command->add_flag("--whole", whole_, "The whole input is one message");
        command->add_option("-s,--serializer", serializer_, "text, json, bytes, yaml, msgpack (text)")
            ->type_name("NAME");
        command->add_option("-c,--compression", compression_, "zlib, bzip2, lzma, zstd, brotli (none)")
            ->type_name("NAME");
        command->add_option("-H,--header", headers_, "Repeatable; the value is JSON or text")
            ->type_name("NAME=VALUE")
            ->allow_extra_args(false);
        command->add_option("-p,--property", properties_, "message_id, expiration (s), ...; repeatable")
            ->type_name("NAME=VALUE")
            ->allow_extra_args(false);
        command->add_option("-n,--count", count_, "Publish each message so often (1)")->check(at_least(1));
        command->add_option("-r,--rate", rate_, "Messages a second at most")->check(positive())->type_name("N");
        command->add_flag("--no-confirm", no_confirm_, "Do not wait for the broker's confirmation");
        command->add_flag("--allow-unroutable", allow_unroutable_, "No error when a message reaches no queue");
        return command;
    }

    ExitCode run(StopSignal& stop) override {
        if (!bodies_.empty() && !file_.empty()) throw UsageError("publish: a BODY and --file exclude each other");
        const PublishOptions options = publish_options();
        connection_.emplace(broker_.connection({{"confirm_publish", !no_confirm_}}));
        producer_.emplace(*connection_);
        batch_.emplace(producer_->batch());
        std::optional<std::uint64_t> total;
        if (!bodies_.empty()) total = bodies_.size() * count_;
        Progress progress{"published", total};
        progress_ = &progress;
        connection_->connect();
        try {
            publish_all(options, stop);
            commit();
        } catch (const OperationalError&) {
            say_what_was_published();
            throw;
        } catch (const std::exception&) {  // an input is invalid; those before it are not
            commit();
            say_what_was_published();
            throw;
        }
        return stop.requested() ? interrupted(count_of(confirmed_) + " published") : ExitCode::success;
    }

private:
    static constexpr std::size_t largest_batch = 256;

    PublishOptions publish_options() const {
        const Target target{target_};
        PublishOptions options{.exchange = Exchange{target.exchange},
                               .routing_key = target.routing_key,
                               .headers = object_of(headers_, "--header"),
                               .mandatory = !no_confirm_ && !allow_unroutable_};
        if (!compression_.empty()) options.compression = compression_;
        const Json properties = object_of(properties_, "--property");
        for (const auto& [name, value] : properties.items()) set_property(options, name, value);
        if (!options.content_type) options.serializer = serializer_;
        return options;
    }

    void say_what_was_published() const {
        if (confirmed_ != 0) say(count_of(confirmed_) + " published before the error");
    }

    void publish_all(const PublishOptions& options, StopSignal& stop) {
        if (!bodies_.empty()) {
            for (const std::string& body : bodies_) publish(body, options, stop, true);
            return;
        }
        LineReader reader{file_.empty() ? "-" : file_, stop};
        std::string body;
        if (whole_) {
            if (reader.rest(body)) publish(body, options, stop, true);
            return;
        }
        for (std::uint64_t line = 1; reader.next(body); ++line) try {
                publish(body, options, stop, reader.has_line());
            } catch (const UsageError& error) {
                throw UsageError("line " + std::to_string(line) + ": " + error.what());
            }
    }

    void publish(const std::string& body, const PublishOptions& options, StopSignal& stop, bool more) {
        const bool is_text = options.content_type || serializer_ == "text";
        Json value;
        if (!is_text && serializer_ != "bytes") {
            value = Json::parse(body, nullptr, false);
            if (value.is_discarded())
                throw UsageError("the body is not JSON, which --serializer " + serializer_ + " needs");
        }
        for (std::uint64_t i = 0; i < count_ && !stop.requested(); ++i) {
            if (!await_turn(stop)) return;
            if (is_text)
                batch_->publish(body, options);
            else if (serializer_ == "bytes")
                batch_->publish(std::as_bytes(std::span{body}), options);
            else
                batch_->publish(value, options);
            if (batch_->size() >= largest_batch) commit();
        }
        if (!more) commit();
    }

    /// With --rate: whether it is time for the next message; false after a stop.
    bool await_turn(StopSignal& stop) {
        if (rate_ == 0) return true;
        const auto due = start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>{
                                      static_cast<double>(confirmed_ + batch_->size()) / rate_});
        if (Clock::now() >= due) return true;
        commit();
        return stop.wait_until(due);
    }

    void commit() {
        const std::size_t size = batch_->size();
        if (size == 0) return;
        try {
            batch_->commit();
        } catch (const BatchError& error) {
            confirmed_ += size - error.failures().size();
            std::rethrow_exception(error.failures().front().error);
        }
        confirmed_ += size;
        progress_->update(confirmed_);
    }

    BrokerArguments broker_;
    std::string target_{}, file_{}, serializer_ = "text", compression_{};
    std::vector<std::string> bodies_{}, headers_{}, properties_{};
    std::uint64_t count_ = 1;
    double rate_ = 0;
    bool whole_ = false, no_confirm_ = false, allow_unroutable_ = false;

    std::optional<Connection> connection_{};
    std::optional<Producer> producer_{};
    std::optional<Batch> batch_{};
    Progress* progress_ = nullptr;
    std::uint64_t confirmed_ = 0;
    const Clock::time_point start_ = Clock::now();
};

}  // namespace

std::unique_ptr<Command> make_publish() { return std::make_unique<PublishCommand>(); }

}  // namespace kombu::command
