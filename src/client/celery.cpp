// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/celery.hpp>
#include <kombu/error.hpp>

#include "messages/json_writer.hpp"
#include "net/blocking_driver.hpp"
#include "support/utf8.hpp"
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

/// Workers read these fields as text before they know the task.
void check_text_field(std::string_view text, const char* field) {
    if (text.empty()) throw ConfigurationError(std::string{field} + ": must not be empty");
    if (!is_utf8(text)) throw ConfigurationError(std::string{field} + ": is not UTF-8");
    check_name(text, field);
}

void check_optional_text(const std::optional<std::string>& text, const char* field) {
    if (text) check_text_field(std::string_view{*text}, field);
}

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
    check_text_field(name, "task name");
    if (!args.is_array()) throw ConfigurationError("args: must be a JSON array");
    if (!kwargs.is_object()) throw ConfigurationError("kwargs: must be a JSON object");
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
    // Encoded first: throws when args or kwargs cannot be written as JSON.
    const Json embed = {{"callbacks", nullptr}, {"errbacks", nullptr}, {"chain", nullptr}, {"chord", nullptr}};
    json_text::append_compact(task.body, Json::array({args, kwargs, embed}));
    PublishOptions& publish = task.options;
    publish.exchange = Exchange{};
    publish.routing_key = options.queue;
    if (options.declare)
        publish.declare = {Queue{options.queue, Exchange{options.queue}, options.queue}};
    else
        publish.mandatory = true;
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
        {"group_index", nullptr},
        {"retries", 0},
        {"timelimit", Json::array({seconds_or_null(options.time_limit, "time_limit"),
                                   seconds_or_null(options.soft_time_limit, "soft_time_limit")})},
        {"root_id", options.root_id.value_or(task.id)},
        {"parent_id", or_null(options.parent_id)},
        {"argsrepr", repr_text(args)},
        {"kwargsrepr", repr_text(kwargs)},
        {"origin", "gen" + std::to_string(::getpid()) + '@' + host_name()},
        {"ignore_result", options.ignore_result},
    });
    return task;
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

}  // namespace kombu::celery

kombu::async::Operation<std::string> kombu::async::Operations::send_task(const Producer& producer,
                                                                         std::string_view name, const Json& args,
                                                                         const Json& kwargs,
                                                                         const celery::TaskOptions& options) {
    celery::TaskMessage task = celery::make_task_message(name, args, kwargs, options);
    return celery::publish_and_return_id(publish(producer, std::string_view{task.body}, task.options),
                                         std::move(task.id));
}
