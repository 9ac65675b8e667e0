// SPDX-License-Identifier: BSD-3-Clause
#include "client/celery_signature.hpp"

#include <kombu/error.hpp>

#include "support/utf8.hpp"
#include "support/uuid.hpp"
#include "support/validation.hpp"

#include <algorithm>

namespace kombu::celery {
namespace {

constexpr int max_depth = 50;
constexpr double max_countdown = 200.0 * 366 * 86400;

Json list_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults, int depth);

Json options_of(const Signature& signature, const SignatureDefaults& defaults, int depth) {
    check_optional_text(signature.queue, "queue");
    check_optional_text(signature.task_id, "task_id");
    check_optional_text(signature.reply_to, "reply_to");
    // A worker that fails stores the failure for each task of the chain, by its id.
    Json options{{"task_id", signature.task_id ? *signature.task_id : make_uuid()}};
    if (signature.queue) options["queue"] = *signature.queue;
    const auto& reply_to = signature.reply_to ? signature.reply_to : defaults.reply_to;
    if (reply_to) options["reply_to"] = *reply_to;
    if (signature.priority) {
        if (*signature.priority < 0 || *signature.priority > 255)
            throw ConfigurationError("priority: 0 to 255, not " + std::to_string(*signature.priority));
        options["priority"] = *signature.priority;
    }
    if (signature.countdown) {
        // A worker that cannot add it to its clock would not store the result of the task before.
        if (!(signature.countdown->count() >= 0 && signature.countdown->count() < max_countdown))
            throw ConfigurationError("countdown: must be from 0 seconds to 200 years");
        options["countdown"] = signature.countdown->count();
    }
    const SignatureDefaults own{.reply_to = reply_to};
    if (!signature.link.empty()) options["link"] = list_or_null(signature.link, own, depth);
    if (!signature.link_error.empty()) options["link_error"] = list_or_null(signature.link_error, own, depth);
    return options;
}

Json to_json(const Signature& signature, const SignatureDefaults& defaults, int depth) {
    if (depth > max_depth) throw ConfigurationError("link: tasks follow each other too deeply");
    check_call(signature.task, signature.args, signature.kwargs);
    try {
        return {{"task", signature.task},     {"args", signature.args},
                {"kwargs", signature.kwargs}, {"options", options_of(signature, defaults, depth + 1)},
                {"subtask_type", nullptr},    {"immutable", signature.immutable}};
    } catch (const ConfigurationError& error) {
        throw ConfigurationError("task '" + signature.task + "': " + error.what());
    }
}

Json list_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults, int depth) {
    if (signatures.empty()) return nullptr;
    Json list = Json::array();
    for (const Signature& signature : signatures) list.push_back(to_json(signature, defaults, depth));
    return list;
}

}  // namespace

void check_text_field(std::string_view text, const char* field) {
    if (text.empty()) throw ConfigurationError(std::string{field} + ": must not be empty");
    if (!is_utf8(text)) throw ConfigurationError(std::string{field} + ": is not UTF-8");
    check_name(text, field);
}

void check_optional_text(const std::optional<std::string>& text, const char* field) {
    if (text) check_text_field(std::string_view{*text}, field);
}

void check_call(std::string_view name, const Json& args, const Json& kwargs) {
    check_text_field(name, "task name");
    if (!args.is_array()) throw ConfigurationError("args: must be a JSON array");
    if (!kwargs.is_object()) throw ConfigurationError("kwargs: must be a JSON object");
}

Json signatures_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults) {
    return list_or_null(signatures, defaults, 0);
}

Json chain_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults) {
    Json list = list_or_null(signatures, defaults, 0);
    if (list.is_array()) std::ranges::reverse(list.get_ref<Json::array_t&>());
    return list;
}

}  // namespace kombu::celery
