// SPDX-License-Identifier: BSD-3-Clause
#include "bench_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <vector>

namespace kombu::command {
namespace {

__attribute__((format(printf, 1, 2))) std::string formatted(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char text[512];
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

double milliseconds(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

struct Percentile {
    const char* name;
    double share;
};
constexpr Percentile percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

Json latencies_of(const LatencyCounts& counts) {
    Json json = Json::object();
    for (const Percentile& p : percentiles) json[p.name] = milliseconds(counts.quantile(p.share));
    return json;
}

double per_second(std::uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string text_row(const char* name, std::uint64_t count, double seconds, const LatencyCounts& latencies) {
    std::string row = formatted("%-9s %9.0f/s ", name, per_second(count, seconds));
    for (const Percentile& p : percentiles) row += formatted(" %9.3f", milliseconds(latencies.quantile(p.share)));
    return row + '\n';
}

// -- SVG

struct Series {
    const char* name;
    const char* style;  // a class of the style sheet
    std::function<double(const BenchSecond&)> value;
};

/// A round number that is not below the value: 1, 2 or 5 times a power of ten.
double round_up(double value) {
    if (!(value > 0)) return 1;
    const double power = std::pow(10, std::floor(std::log10(value)));
    for (const double factor : {1.0, 2.0, 5.0, 10.0})
        if (factor * power >= value) return factor * power;
    return 10 * power;
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            default: out += c;
        }
    }
    return out;
}

constexpr double chart_left = 80, chart_width = 600, chart_height = 180;

std::string chart(double top, const char* title, const std::vector<Series>& series, const BenchResult& result) {
    double highest = 0;
    for (const Series& s : series)
        for (const BenchSecond& second : result.by_second) highest = std::max(highest, s.value(second));
    const double scale = round_up(highest), duration = std::max(result.seconds, 1.0);
    std::string out = formatted("<text class=\"title\" x=\"%g\" y=\"%g\">%s</text>\n", chart_left, top - 12, title);
    for (int i = 0; i <= 4; ++i) {
        const double y = top + chart_height - chart_height * i / 4;
        out += formatted("<line class=\"grid\" x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\"/>", chart_left, y,
                         chart_left + chart_width, y);
        out += formatted("<text class=\"axis\" x=\"%g\" y=\"%g\" text-anchor=\"end\">%g</text>\n", chart_left - 8,
                         y + 4, scale * i / 4);
    }
    for (int i = 0; i <= 5; ++i)
        out += formatted("<text class=\"axis\" x=\"%g\" y=\"%g\" text-anchor=\"middle\">%.3g s</text>\n",
                         chart_left + chart_width * i / 5, top + chart_height + 18, duration * i / 5);
    double legend = chart_left + chart_width;
    for (auto s = series.rbegin(); s != series.rend(); ++s) {
        out += formatted("<text class=\"%s\" x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n", s->style, legend,
                         top - 12, s->name);
        legend -= 80;
    }
    for (const Series& s : series) {
        out += formatted("<polyline class=\"%s\" points=\"", s.style);
        for (const BenchSecond& second : result.by_second)
            out += formatted("%.1f,%.1f ", chart_left + chart_width * std::min(second.at / duration, 1.0),
                             top + chart_height - chart_height * s.value(second) / scale);
        out += "\"/>\n";
    }
    return out;
}

}  // namespace

std::string text_report(const BenchResult& result) {
    const BenchCounts& total = result.total;
    std::string text = formatted("%-9s %11s  %9s %9s %9s %9s %9s\n", "ms", "rate", "p50", "p90", "p99", "p99.9", "max");
    text += text_row("acquire", total.published, result.seconds, total.acquire);
    text += text_row("publish", total.published, result.seconds, total.publish);
    if (total.received != 0) text += text_row("transit", total.received, result.seconds, total.transit);
    text += formatted("%llu published, %llu received, %llu errors in %.1f s\n",
                      static_cast<unsigned long long>(total.published), static_cast<unsigned long long>(total.received),
                      static_cast<unsigned long long>(total.errors), result.seconds);
    if (!result.last_error.empty()) text += "last error: " + result.last_error + '\n';
    return text;
}

Json json_report(const BenchResult& result, const Json& settings) {
    const auto counts_of = [](const BenchCounts& counts, double seconds) -> Json {
        return {{"published", counts.published},
                {"received", counts.received},
                {"errors", counts.errors},
                {"published_per_second", per_second(counts.published, seconds)},
                {"received_per_second", per_second(counts.received, seconds)},
                {"acquire_ms", latencies_of(counts.acquire)},
                {"publish_ms", latencies_of(counts.publish)},
                {"transit_ms", latencies_of(counts.transit)}};
    };
    Json seconds = Json::array();
    for (const BenchSecond& second : result.by_second) {
        Json entry = counts_of(second.counts, second.length);
        entry["at"] = second.at;
        seconds.push_back(std::move(entry));
    }
    Json report = counts_of(result.total, result.seconds);
    report["settings"] = settings;
    report["duration"] = result.seconds;
    report["by_second"] = std::move(seconds);
    if (!result.last_error.empty()) report["last_error"] = result.last_error;
    return report;
}

std::string csv_report(const BenchResult& result) {
    std::string csv = "at,published_per_second,received_per_second,errors";
    for (const char* const what : {"acquire", "publish", "transit"})
        for (const Percentile& p : percentiles) csv += formatted(",%s_%s_ms", what, p.name);
    csv += '\n';
    for (const BenchSecond& second : result.by_second) {
        csv += formatted("%.3f,%.1f,%.1f,%llu", second.at, per_second(second.counts.published, second.length),
                         per_second(second.counts.received, second.length),
                         static_cast<unsigned long long>(second.counts.errors));
        for (const LatencyCounts* const counts :
             {&second.counts.acquire, &second.counts.publish, &second.counts.transit})
            for (const Percentile& p : percentiles) csv += formatted(",%.4f", milliseconds(counts->quantile(p.share)));
        csv += '\n';
    }
    return csv;
}

std::string svg_report(const BenchResult& result, const std::string& title) {
    const auto quantile = [](LatencyCounts BenchCounts::*latencies, double share) {
        return [=](const BenchSecond& second) { return milliseconds((second.counts.*latencies).quantile(share)); };
    };
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 540\" role=\"img\">\n<title>" + escaped(title) +
        "</title>\n"
        "<style>svg{background:#fff;font:12px sans-serif}.title{font-weight:bold;fill:#222}.axis{fill:#555}"
        ".grid{stroke:#ddd}polyline{fill:none;stroke-width:2}text.a{fill:#0b62a4}text.b{fill:#b34700}"
        "polyline.a{stroke:#0b62a4}polyline.b{stroke:#b34700;stroke-dasharray:6 3}"
        "@media(prefers-color-scheme:dark){svg{background:#111}.title{fill:#eee}.axis{fill:#aaa}.grid{stroke:#333}"
        "text.a{fill:#6db7f2}text.b{fill:#ffa566}polyline.a{stroke:#6db7f2}polyline.b{stroke:#ffa566}}</style>\n";
    svg += chart(40, "messages a second",
                 {{"published", "a", [](const BenchSecond& s) { return per_second(s.counts.published, s.length); }},
                  {"received", "b", [](const BenchSecond& s) { return per_second(s.counts.received, s.length); }}},
                 result);
    svg +=
        chart(300, "publish, milliseconds",
              {{"p50", "a", quantile(&BenchCounts::publish, 0.5)}, {"p99", "b", quantile(&BenchCounts::publish, 0.99)}},
              result);
    svg += formatted("<text class=\"axis\" x=\"%g\" y=\"525\">%s</text>\n</svg>\n", chart_left, escaped(title).c_str());
    return svg;
}

}  // namespace kombu::command
