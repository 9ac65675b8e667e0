// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>

namespace kombu::routing {

/// The regular expression that Kombu derives from a topic binding's key. It is stored with the binding, for publishers
/// in Python. This library matches by AMQP's rules instead (topic_matches), which differ.
std::string kombu_topic_regex(std::string_view key);

}  // namespace kombu::routing
