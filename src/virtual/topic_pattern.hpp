#pragma once

#include <string>
#include <string_view>

namespace kombu::routing {

/// The regular expression that Kombu makes of a topic binding's key, for publishers in Python to match with. It is
/// written with the binding; here keys are matched by AMQP's rules (topic_matches), from which it differs.
std::string python_pattern(std::string_view key);

}  // namespace kombu::routing
