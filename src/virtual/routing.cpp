// SPDX-License-Identifier: BSD-3-Clause
#include "virtual/routing.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace kombu::routing {
namespace {

std::vector<std::string_view> split_words(std::string_view text) {
    std::vector<std::string_view> result;
    if (text.empty()) return result;
    for (std::size_t begin = 0;;) {
        const std::size_t end = text.find('.', begin);
        result.push_back(text.substr(begin, end - begin));
        if (end == std::string_view::npos) return result;
        begin = end + 1;
    }
}

}  // namespace

bool topic_matches(std::string_view pattern_text, std::string_view key_text) {
    const auto pattern = split_words(pattern_text), key = split_words(key_text);
    // Greedy with one point to backtrack to, as for shell wildcards: only the last '#' is ever retried. Linear memory
    // and at most pattern x key steps, for hostile patterns too.
    std::size_t p = 0, k = 0;
    std::size_t last_hash = pattern.size(), resume = 0;
    while (k < key.size()) {
        if (p < pattern.size() && pattern[p] == "#") {
            last_hash = p++;
            resume = k;
        } else if (p < pattern.size() && (pattern[p] == "*" || pattern[p] == key[k])) {
            ++p;
            ++k;
        } else if (last_hash < pattern.size()) {
            p = last_hash + 1;
            k = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == "#") ++p;
    return p == pattern.size();
}

namespace {

/// Numbers by their exact values, whatever their types, as in RabbitMQ.
bool is_match(const Json& header, const Json& wanted) {
    if (header.is_number() && wanted.is_number() && (header.is_number_float() || wanted.is_number_float()))
        return header.get<long double>() == wanted.get<long double>();
    if (header.is_array() && wanted.is_array())
        return std::ranges::equal(header.get_ref<const Json::array_t&>(), wanted.get_ref<const Json::array_t&>(),
                                  is_match);
    return same_value(header, wanted);
}

}  // namespace

bool headers_match(const Json& arguments, const Json& headers) {
    std::string mode = "all";
    if (const auto given = arguments.find("x-match"); given != arguments.end() && given->is_string()) mode = *given;
    const bool any = mode.starts_with("any"), with_x = mode.ends_with("-with-x");
    bool all_match = true, one_matches = false;
    for (const auto& [name, wanted] : arguments.items()) {
        if (name == "x-match" || (!with_x && name.starts_with("x-"))) continue;
        const auto header = headers.find(name);
        const bool match = header != headers.end() && (wanted.is_null() || is_match(*header, wanted));
        all_match = all_match && match;
        one_matches = one_matches || match;
    }
    return any ? one_matches : all_match;
}

bool is_exchange_type(std::string_view type) {
    return type == "direct" || type == "topic" || type == "fanout" || type == "headers";
}

void Bindings::bind(Binding binding) {
    if (std::find(bindings_.begin(), bindings_.end(), binding) == bindings_.end())
        bindings_.push_back(std::move(binding));
}

bool Bindings::unbind(const Binding& binding) { return std::erase(bindings_, binding) != 0; }

bool Bindings::remove_destination(std::string_view destination) {
    return std::erase_if(bindings_, [&](const Binding& binding) { return binding.destination == destination; }) != 0;
}

bool Bindings::matches(const Binding& binding, std::string_view routing_key, const Json& headers) const {
    if (type_ == "fanout") return true;
    if (type_ == "topic") return topic_matches(binding.routing_key, routing_key);
    if (type_ == "headers") return headers_match(binding.arguments, headers);
    return binding.routing_key == routing_key;
}

std::vector<std::string> Bindings::route(std::string_view routing_key, const Json& headers) const {
    std::vector<std::string> destinations;
    for (const Binding& binding : bindings_)
        if (matches(binding, routing_key, headers) &&
            std::find(destinations.begin(), destinations.end(), binding.destination) == destinations.end())
            destinations.push_back(binding.destination);
    return destinations;
}

}  // namespace kombu::routing
