// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "bench_load.hpp"

#include <kombu/json.hpp>

#include <string>

/// A measurement as text, JSON, CSV and SVG. Latencies are in milliseconds.
namespace kombu::command {

std::string text_report(const BenchResult& result);
/// `settings`: what was measured.
Json json_report(const BenchResult& result, const Json& settings);
/// A line for each second.
std::string csv_report(const BenchResult& result);
/// Two charts over time: messages a second, and latencies. `title`: below them.
std::string svg_report(const BenchResult& result, const std::string& title);

}  // namespace kombu::command
