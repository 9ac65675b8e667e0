// SPDX-License-Identifier: BSD-3-Clause
#include "support/suggestion.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace kombu {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
        }
    }
    return row.back();
}

}  // namespace

std::string suggest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string text = "known: ";
    std::string_view nearest;
    std::size_t best = std::string_view::npos;
    for (const std::string& candidate : candidates) {
        text += (text.size() > 7 ? ", " : "") + candidate;
        const std::size_t distance = word.size() <= 64 ? edit_distance(word, candidate) : word.size();
        if (distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    if (best != std::string_view::npos && best * 2 <= nearest.size())
        text.append("; did you mean ").append(nearest).append("?");
    return text;
}

}  // namespace kombu
