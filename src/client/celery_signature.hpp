// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/celery.hpp>
#include <kombu/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kombu::celery {

/// Throws ConfigurationError for what would end a worker: it reads these fields as text before it knows the task.
void check_text_field(std::string_view text, const char* field);
void check_optional_text(const std::optional<std::string>& text, const char* field);
/// The same for the name and the arguments of a task.
void check_call(std::string_view name, const Json& args, const Json& kwargs);

/// What signatures get from the task that they follow.
struct SignatureDefaults {
    std::optional<std::string> reply_to{};
};

/// Signatures as workers read them; null for none, as workers expect it.
/// \throws ConfigurationError  when one is invalid; the text names its task
Json signatures_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults);
/// The same in reverse: a worker takes the next task of a chain from the end.
Json chain_or_null(const std::vector<Signature>& signatures, const SignatureDefaults& defaults);

}  // namespace kombu::celery
