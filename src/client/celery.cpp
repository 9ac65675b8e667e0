// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/celery.hpp>
#include <kombu/error.hpp>

#include "client/celery_signature.hpp"
#include "messages/json_writer.hpp"
#include "messages/python_json.hpp"
#include "net/blocking_driver.hpp"
#include "support/uuid.hpp"
#include "support/validation.hpp"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <utility>

namespace kombu::celery {
namespace {

using Time = std::chrono::system_clock::time_point;
using Seconds = std::chrono::duration<double>;

/// ISO 8601 in UTC, as Python's datetime.isoformat() writes it, but always with microseconds.
std::string to_iso8601(Time time) {
    const auto micros = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch());
    const auto whole = std::chrono::floor<std::chrono::seconds>(micros);
    const std::time_t seconds = whole.count();
    std::tm parts{};
    if (!::gmtime_r(&seconds, &parts) || parts.tm_year < -1899 || parts.tm_year > 8099)
        throw ConfigurationError("eta and expires: must be within the years 1 to 9999");
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06lld+00:00", parts.tm_year + 1900,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                  static_cast<long long>((micros - whole).count()));
    return text.data();
}

/// Now plus the delay, which is bounded because Python's datetime ends with the year 9999.
Time from_now(Seconds delay, const char* field) {
    constexpr double max_seconds = 200.0 * 366 * 86400;
    if (!(std::abs(delay.count()) < max_seconds))
        throw ConfigurationError(std::string{field} + ": must be within 200 years");
    return std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(delay);
}

Json seconds_or_null(const std::optional<Seconds>& duration, const char* field) {
    if (!duration) return nullptr;
    if (!(duration->count() > 0) || !std::isfinite(duration->count()))
        throw ConfigurationError(std::string{field} + ": must be more than 0 seconds");
    return duration->count();
}

Json or_null(const std::optional<std::string>& text) { return text ? Json(*text) : Json(nullptr); }

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

/// Human-readable, for the logs of workers.
std::string repr_text(const Json& value) {
    constexpr std::size_t max_size = 1024;
    std::string text;
    json_text::append_python_json(text, value);
    if (text.size() > max_size) text.replace(max_size, std::string::npos, "...");
    return text;
}

struct TaskMessage {
    std::string id{};
    std::string body{};
    PublishOptions options{};
};

/// Custom headers must be encodable as JSON and must not use a name that workers interpret: TaskOptions sets those.
void check_headers(const Json& headers) {
    if (!headers.is_object()) throw ConfigurationError("headers: must be a JSON object");
    std::string discarded_text;
    json_text::append_compact(discarded_text, headers);
    for (const char* reserved : {"lang",
                                 "task",
                                 "id",
                                 "shadow",
                                 "eta",
                                 "expires",
                                 "group",
                                 "group_index",
                                 "retries",
                                 "timelimit",
                                 "root_id",
                                 "parent_id",
                                 "argsrepr",
                                 "kwargsrepr",
                                 "origin",
                                 "ignore_result",
                                 "replaced_task_nesting",
                                 "stamped_headers",
                                 "stamps",
                                 "compression",
                                 "args",
                                 "kwargs",
                                 "callbacks",
                                 "errbacks",
                                 "chain",
                                 "chord",
                                 "hostname",
                                 "is_eager",
                                 "called_directly",
                                 "delivery_info",
                                 "correlation_id",
                                 "reply_to",
                                 "utc",
                                 "redelivered",
                                 "properties",
                                 "headers"})
        if (headers.contains(reserved))
            throw ConfigurationError("headers: " + std::string{reserved} + " is reserved by Celery");
}

std::optional<std::string> apply_expires(const TaskOptions& options, PublishOptions& publish) {
    if (std::holds_alternative<std::monostate>(options.expires)) return std::nullopt;
    const auto* const duration = std::get_if<Seconds>(&options.expires);
    const Time expires_at = duration ? from_now(*duration, "expires") : std::get<Time>(options.expires);
    const Seconds remaining = expires_at - std::chrono::system_clock::now();
    // An expired task is sent without a message expiration: the worker must receive it to report that it expired.
    constexpr Seconds max_expiration{4'294'967};
    if (remaining >= std::chrono::milliseconds{1} && remaining < max_expiration) publish.expiration = remaining;
    return to_iso8601(expires_at);
}

TaskMessage make_task_message(std::string_view name, const Json& args, const Json& kwargs, const TaskOptions& options) {
    check_call(name, args, kwargs);
    check_text_field(options.queue, "queue");
    if (options.eta && options.countdown) throw ConfigurationError("countdown: cannot be combined with eta");
    check_headers(options.headers);
    check_optional_text(options.task_id, "task_id");
    check_optional_text(options.parent_id, "parent_id");
    check_optional_text(options.root_id, "root_id");
    check_optional_text(options.group_id, "group_id");
    check_optional_text(options.shadow, "shadow");
    check_optional_text(options.reply_to, "reply_to");

    TaskMessage task;
    task.id = options.task_id ? *options.task_id : make_uuid();
    const std::string root_id = options.root_id.value_or(task.id);
    const SignatureDefaults defaults{.reply_to = options.reply_to};
    // Encoded first: throws when args or kwargs cannot be written as JSON.
    const Json embed = {{"callbacks", signatures_or_null(options.link, defaults)},
                        {"errbacks", signatures_or_null(options.link_error, defaults)},
                        {"chain", chain_or_null(options.chain, defaults)},
                        {"chord", nullptr}};
    json_text::append_compact(task.body, Json::array({args, kwargs, embed}));
    PublishOptions& publish = task.options;
    publish.exchange = options.exchange.value_or(Exchange{});
    publish.routing_key = options.exchange ? options.routing_key.value_or(options.queue) : options.queue;
    if (options.routing_key && !options.exchange) throw ConfigurationError("routing_key: there is no exchange");
    if (options.exchange && options.declare)
        publish.declare = {*options.exchange};
    else if (options.declare)
        publish.declare = {Queue{options.queue, Exchange{options.queue}, options.queue}};
    publish.mandatory = options.exchange || !options.declare;
    // Set explicitly: the program may have registered another serializer as "json".
    publish.content_type = "application/json";
    publish.content_encoding = "utf-8";
    publish.compression = options.compression ? *options.compression : "";
    publish.priority = options.priority;
    publish.correlation_id = task.id;
    publish.reply_to = options.reply_to.value_or("");
    publish.retry = options.retry;
    publish.retry_policy = options.retry_policy;
    publish.timeout = options.timeout;

    std::optional<Time> eta = options.eta;
    if (options.countdown) eta = from_now(*options.countdown, "countdown");
    const std::optional<std::string> expires = apply_expires(options, publish);
    publish.headers = options.headers;
    publish.headers.update({
        {"lang", "cpp"},
        {"task", name},
        {"id", task.id},
        {"shadow", or_null(options.shadow)},
        {"eta", eta ? Json(to_iso8601(*eta)) : Json(nullptr)},
        {"expires", or_null(expires)},
        {"group", or_null(options.group_id)},
        {"group_index", options.group_index ? Json(*options.group_index) : Json(nullptr)},
        {"retries", options.retries},
        {"timelimit", Json::array({seconds_or_null(options.time_limit, "time_limit"),
                                   seconds_or_null(options.soft_time_limit, "soft_time_limit")})},
        {"root_id", root_id},
        {"parent_id", or_null(options.parent_id)},
        {"argsrepr", repr_text(args)},
        {"kwargsrepr", repr_text(kwargs)},
        {"origin", "gen" + std::to_string(::getpid()) + '@' + host_name()},
        {"ignore_result", options.ignore_result},
    });
    return task;
}

/// The options for a task that is sent here.
TaskOptions with_options_of(const Signature& task, TaskOptions options) {
    if (task.queue) options.queue = *task.queue;
    if (task.task_id) options.task_id = task.task_id;
    if (task.reply_to) options.reply_to = task.reply_to;
    if (task.priority) options.priority = *task.priority;
    if (task.countdown) options.countdown = task.countdown;
    options.link.insert(options.link.end(), task.link.begin(), task.link.end());
    options.link_error.insert(options.link_error.end(), task.link_error.begin(), task.link_error.end());
    return options;
}

async::Operation<std::string> publish_and_return_id(async::Operation<> publish, std::string id) {
    co_await std::move(publish);
    co_return id;
}

}  // namespace

std::string send_task(Producer& producer, std::string_view name, const Json& args, const Json& kwargs,
                      const TaskOptions& options) {
    return net::run(async::Operations::send_task(producer, name, args, kwargs, options));
}

SentTasks send_chain(Producer& producer, const std::vector<Signature>& tasks, const TaskOptions& options) {
    if (tasks.empty()) throw ConfigurationError("chain: has no tasks");
    if (!options.chain.empty()) throw ConfigurationError("chain: is given by the tasks");
    const Signature& first = tasks.front();
    TaskOptions chained = with_options_of(first, options);
    chained.chain.assign(tasks.begin() + 1, tasks.end());
    for (Signature& next : chained.chain) {
        if (!next.queue) next.queue = options.queue;
        if (!next.task_id) next.task_id = make_uuid();
    }
    SentTasks sent{.task_ids = {send_task(producer, first.task, first.args, first.kwargs, chained)}};
    for (const Signature& next : chained.chain) sent.task_ids.push_back(*next.task_id);
    sent.id = sent.task_ids.back();
    return sent;
}

SentTasks send_group(Producer& producer, const std::vector<Signature>& tasks, const TaskOptions& options) {
    if (tasks.empty()) throw ConfigurationError("group: has no tasks");
    if (options.task_id || options.group_id || !options.link.empty() || !options.link_error.empty() ||
        !options.chain.empty())
        throw ConfigurationError("group: task_id, group_id, link, link_error and chain belong to its tasks");
    SentTasks sent{.id = make_uuid()};
    std::vector<TaskMessage> messages;
    for (const Signature& task : tasks) {
        TaskOptions grouped = with_options_of(task, options);
        grouped.group_id = sent.id;
        grouped.group_index = static_cast<std::uint32_t>(messages.size());
        messages.push_back(make_task_message(task.task, task.args, task.kwargs, grouped));
    }
    for (TaskMessage& message : messages) {
        producer.publish(std::string_view{message.body}, message.options);
        sent.task_ids.push_back(std::move(message.id));
    }
    return sent;
}

}  // namespace kombu::celery

kombu::async::Operation<std::string> kombu::async::Operations::send_task(const Producer& producer,
                                                                         std::string_view name, const Json& args,
                                                                         const Json& kwargs,
                                                                         const celery::TaskOptions& options) {
    celery::TaskMessage task = celery::make_task_message(name, args, kwargs, options);
    return celery::publish_and_return_id(publish(producer, std::string_view{task.body}, task.options),
                                         std::move(task.id));
}
