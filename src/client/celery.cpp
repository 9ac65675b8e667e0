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

/// As Python's datetime writes a time in UTC.
std::string iso_text(Time time) {
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

/// So long from now. Python's times end with the year 9999.
Time from_now(Seconds time, const char* field) {
    constexpr double most = 200.0 * 366 * 86400;
    if (!(std::abs(time.count()) < most)) throw ConfigurationError(std::string{field} + ": more than 200 years");
    return std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(time);
}

Json limit(const std::optional<Seconds>& time, const char* field) {
    if (!time) return nullptr;
    if (!(time->count() > 0) || !std::isfinite(time->count()))
        throw ConfigurationError(std::string{field} + ": must be more than 0 seconds");
    return time->count();
}

Json or_null(const std::optional<std::string>& text) { return text ? Json(*text) : Json(nullptr); }

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

/// For people: logs of workers show it.
std::string shown(const Json& value) {
    constexpr std::size_t longest = 1024;
    std::string text;
    json_text::append(text, value);
    if (text.size() > longest) text.replace(longest, std::string::npos, "...");
    return text;
}

struct Task {
    std::string id{};
    std::string body{};
    PublishOptions options{};
};

/// Workers read all of it as text, before they know what it is.
void check_text(std::string_view text, const char* field) {
    if (text.empty()) throw ConfigurationError(std::string{field} + ": must not be empty");
    if (!is_utf8(text)) throw ConfigurationError(std::string{field} + ": is not UTF-8");
    check_name(text, field);
}

void check_given(const std::optional<std::string>& text, const char* field) {
    if (text) check_text(std::string_view{*text}, field);
}

/// Headers of one's own must not mean anything to a worker: what it expects there is set by the options.
void check_headers(const Json& headers) {
    if (!headers.is_object()) throw ConfigurationError("headers: must be a JSON object");
    std::string text;
    json_text::append_compact(text, headers);
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
            throw ConfigurationError("headers: " + std::string{reserved} + " means something to workers");
}

std::optional<std::string> expiry(const TaskOptions& options, PublishOptions& publish) {
    if (std::holds_alternative<std::monostate>(options.expires)) return std::nullopt;
    const auto* const span = std::get_if<Seconds>(&options.expires);
    const Time when = span ? from_now(*span, "expires") : std::get<Time>(options.expires);
    const Seconds left = when - std::chrono::system_clock::now();
    // A message that has expired already would never be seen by the worker, which is to say so.
    constexpr Seconds longest{4'294'967};
    if (left >= std::chrono::milliseconds{1} && left < longest) publish.expiration = left;
    return iso_text(when);
}

Task make_task(std::string_view name, const Json& args, const Json& kwargs, const TaskOptions& options) {
    check_text(name, "task name");
    if (!args.is_array()) throw ConfigurationError("args: must be a JSON array");
    if (!kwargs.is_object()) throw ConfigurationError("kwargs: must be a JSON object");
    check_text(options.queue, "queue");
    if (options.eta && options.countdown) throw ConfigurationError("countdown: not together with eta");
    check_headers(options.headers);
    check_given(options.task_id, "task_id");
    check_given(options.parent_id, "parent_id");
    check_given(options.root_id, "root_id");
    check_given(options.group_id, "group_id");
    check_given(options.shadow, "shadow");
    check_given(options.reply_to, "reply_to");

    Task task;
    task.id = options.task_id ? *options.task_id : make_uuid();
    // Written first: it refuses what cannot be written.
    const Json embed = {{"callbacks", nullptr}, {"errbacks", nullptr}, {"chain", nullptr}, {"chord", nullptr}};
    json_text::append_compact(task.body, Json::array({args, kwargs, embed}));
    PublishOptions& publish = task.options;
    publish.exchange = Exchange{};
    publish.routing_key = options.queue;
    if (options.declare)
        publish.declare = {Queue{options.queue, Exchange{options.queue}, options.queue}};
    else
        publish.mandatory = true;
    // Whatever "json" may have been made to mean in this program.
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
    const std::optional<std::string> expires = expiry(options, publish);
    publish.headers = options.headers;
    publish.headers.update({
        {"lang", "cpp"},
        {"task", name},
        {"id", task.id},
        {"shadow", or_null(options.shadow)},
        {"eta", eta ? Json(iso_text(*eta)) : Json(nullptr)},
        {"expires", or_null(expires)},
        {"group", or_null(options.group_id)},
        {"group_index", nullptr},
        {"retries", 0},
        {"timelimit",
         Json::array({limit(options.time_limit, "time_limit"), limit(options.soft_time_limit, "soft_time_limit")})},
        {"root_id", options.root_id.value_or(task.id)},
        {"parent_id", or_null(options.parent_id)},
        {"argsrepr", shown(args)},
        {"kwargsrepr", shown(kwargs)},
        {"origin", "gen" + std::to_string(::getpid()) + '@' + host_name()},
        {"ignore_result", options.ignore_result},
    });
    return task;
}

async::Operation<std::string> finish(async::Operation<> publishing, std::string id) {
    co_await std::move(publishing);
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
    celery::Task task = celery::make_task(name, args, kwargs, options);
    return celery::finish(publish(producer, std::string_view{task.body}, task.options), std::move(task.id));
}
