// SPDX-License-Identifier: BSD-3-Clause
// Baseline of publish.cpp: includes nlohmann/json.hpp and dumps an object.
#include <nlohmann/json.hpp>

#include <string>

std::string dump() { return nlohmann::json{{"title", "No cellular coverage on the tube"}, {"year", 2012}}.dump(); }
