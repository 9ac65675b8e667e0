// SPDX-License-Identifier: BSD-3-Clause
// Topic patterns and keys, compared with the definition of AMQP in its simplest form.
#include "fuzz.hpp"
#include "virtual/routing.hpp"

#include <string>
#include <vector>

namespace {

using Words = std::vector<std::string_view>;

Words split(std::string_view text) {
    Words words;
    if (text.empty()) return words;
    for (std::size_t begin = 0;;) {
        const std::size_t end = text.find('.', begin);
        words.push_back(text.substr(begin, end - begin));
        if (end == std::string_view::npos) return words;
        begin = end + 1;
    }
}

bool matches(const Words& pattern, const Words& key) {
    std::vector<bool> row(key.size() + 1);
    row[0] = true;
    for (const std::string_view word : pattern) {
        std::vector<bool> next(key.size() + 1);
        for (std::size_t k = 0; k <= key.size(); ++k) {
            if (word == "#")
                next[k] = row[k] || (k > 0 && next[k - 1]);
            else
                next[k] = k > 0 && row[k - 1] && (word == "*" || word == key[k - 1]);
        }
        row = next;
    }
    return row[key.size()];
}

}  // namespace

void fuzz(std::string_view input) {
    if (input.size() > 512) return;
    const std::size_t middle = input.find('\n');
    const std::string_view pattern = input.substr(0, middle);
    const std::string_view key = middle == std::string_view::npos ? std::string_view{} : input.substr(middle + 1);
    require(kombu::routing::topic_matches(pattern, key) == matches(split(pattern), split(key)),
            "a pattern matches as AMQP says");
}
