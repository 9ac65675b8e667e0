// SPDX-License-Identifier: BSD-3-Clause
// The envelope of messages on Redis, as any client may have stored it.
#include "fuzz.hpp"
#include "messages/json_depth.hpp"
#include "messages/json_scanner.hpp"
#include "virtual/envelope.hpp"

#include <nlohmann/json.hpp>
#include <string>

void fuzz(std::string_view input) {
    using namespace kombu;
    // nlohmann_json skips a byte order mark, and stops at a NUL.
    const bool is_special = input.starts_with('\xef') || input.find('\0') != std::string_view::npos;
    if (Json::accept(input) && !json_text::nests_too_deep(input) && !is_special)
        require(json_text::is_well_formed(input), "what nlohmann_json reads is well-formed");
    std::string error;
    const auto parsed = envelope::parse(input, error);
    require(parsed || !error.empty(), "a refused envelope has a reason");
    (void)envelope::parse_unacked_record(input);
    if (!parsed) return;
    require(parsed->redelivered_marks == envelope::redelivered_marks(input), "marks are the same from both readers");
    // What can be delivered can be marked, and is the same message then.
    std::string marked;
    std::size_t done = 0;
    for (const envelope::Insertion& insertion : parsed->redelivered_marks) {
        require(insertion.at >= done && insertion.at <= input.size(), "marks are in order and within the text");
        marked += input.substr(done, insertion.at - done);
        marked += insertion.text;
        done = insertion.at;
    }
    marked += input.substr(done);
    const auto again = envelope::parse(marked, error);
    require(again.has_value(), "a marked envelope can be delivered");
    require(again->delivery->body == parsed->delivery->body, "a marked envelope has the same body");
    require(again->delivery->info.redelivered, "a marked envelope is redelivered");
}
