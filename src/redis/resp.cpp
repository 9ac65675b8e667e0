// SPDX-License-Identifier: BSD-3-Clause
#include "redis/resp.hpp"

#include "net/session_base.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace kombu::redis {
namespace {

constexpr std::size_t least_space = std::size_t{16} << 10;
constexpr std::size_t kept_capacity = std::size_t{1} << 20;

[[noreturn]] void protocol_error(const char* what) {
    throw net::InvalidInput(std::string{"invalid RESP data from the peer: "} + what);
}

std::int64_t number(std::string_view text) {
    std::int64_t value = 0;
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) protocol_error("invalid number");
    return value;
}

/// A length or a count. Nothing for RESP 2's nil, where there may be one.
std::optional<std::size_t> length(std::string_view text, std::size_t most, bool may_be_nil) {
    const std::int64_t value = number(text);
    if (value == -1 && may_be_nil) return std::nullopt;
    if (value < 0) protocol_error("a length is negative");
    if (static_cast<std::uint64_t>(value) > most) protocol_error("reply too large");
    return static_cast<std::size_t>(value);
}

bool is_text(char type) { return type == '$' || type == '=' || type == '!'; }
bool is_aggregate(char type) { return type == '*' || type == '~' || type == '>' || type == '%'; }

}  // namespace

std::pair<char*, std::size_t> ReplyReader::space() {
    if (begin_ == end_ && begin_ != 0) {
        begin_ = end_ = scanned_ = 0;
        if (buffer_.size() > kept_capacity) std::vector<char>{}.swap(buffer_);
    }
    if (buffer_.size() - end_ < least_space) compact();
    return {buffer_.data() + end_, buffer_.size() - end_};
}

void ReplyReader::compact() {
    const std::size_t used = end_ - begin_;
    if (begin_ != 0) std::memmove(buffer_.data(), buffer_.data() + begin_, used);
    scanned_ -= begin_;
    begin_ = 0;
    end_ = used;
    if (buffer_.size() - end_ < least_space) buffer_.resize(std::max(2 * used, used + least_space));
}

std::optional<Reply> ReplyReader::next() {
    if (begin_ == end_) return std::nullopt;
    if (!scan()) return std::nullopt;
    at_ = begin_;
    Reply reply = build();
    begin_ = scanned_;
    elements_ = 0;
    return reply;
}

/// Whether the reply at begin_ is whole. Goes on where it stopped, so that a large reply is looked at once.
bool ReplyReader::scan() {
    if (expected_.empty()) {
        expected_.push_back(1);
        scanned_ = begin_;
    }
    while (!expected_.empty()) {
        if (expected_.back() == 0) {
            expected_.pop_back();
            continue;
        }
        const char* const start = buffer_.data() + scanned_;
        const std::size_t available = end_ - scanned_;
        const auto* const found = static_cast<const char*>(std::memchr(start, '\n', available));
        const std::size_t line = found ? static_cast<std::size_t>(found - start) : available;
        if (line > max_line) protocol_error("a line has no end");
        if (!found) return false;
        if (line < 2 || start[line - 1] != '\r') protocol_error("a line does not end with CRLF");
        const char type = start[0];
        const std::string_view rest{start + 1, line - 2};
        std::size_t size = line + 1;
        std::size_t inner = 0;
        if (is_text(type)) {
            if (const auto text = length(rest, max_text, type == '$')) {
                if (available - size < *text + 2) return false;
                if (std::memcmp(start + size + *text, "\r\n", 2) != 0) protocol_error("no CRLF after a bulk string");
                size += *text + 2;
            }
        } else if (is_aggregate(type)) {
            inner = length(rest, max_elements, type == '*').value_or(0) * (type == '%' ? 2 : 1);
            if (expected_.size() == max_depth) protocol_error("a reply nests too deep");
        } else if (type == ':') {
            number(rest);
        } else if (type == '_' ? !rest.empty() : std::strchr("+-,#(", type) == nullptr || type == '\0') {
            protocol_error("an unknown type of reply");
        }
        if (type == '>' && expected_.size() != 1) protocol_error("a push within a reply");
        elements_ += 1 + inner;
        if (elements_ > max_elements) protocol_error("a reply has too many elements");
        --expected_.back();
        scanned_ += size;
        if (inner != 0) expected_.push_back(inner);
    }
    return true;
}

/// What scan() has found whole and well-formed.
Reply ReplyReader::build() {
    const char* const start = buffer_.data() + at_;
    const auto* const found = static_cast<const char*>(std::memchr(start, '\n', end_ - at_));
    const char type = start[0];
    const std::string_view rest{start + 1, static_cast<std::size_t>(found - start) - 2};
    at_ += rest.size() + 3;
    Reply reply;
    if (is_text(type)) {
        const auto size = length(rest, max_text, true);
        if (!size) return reply;
        reply.type = type == '!' ? Reply::Type::error : Reply::Type::text;
        reply.text.assign(buffer_.data() + at_, *size);
        at_ += *size + 2;
        return reply;
    }
    if (is_aggregate(type)) {
        const auto count = length(rest, max_elements, true);
        if (!count) return reply;
        reply.type = type == '>' ? Reply::Type::push : Reply::Type::array;
        const std::size_t elements = *count * (type == '%' ? 2 : 1);
        reply.elements.reserve(elements);
        for (std::size_t i = 0; i < elements; ++i) reply.elements.push_back(build());
        return reply;
    }
    switch (type) {
        case '_': return reply;
        case ':':
            reply.type = Reply::Type::integer;
            reply.integer = number(rest);
            return reply;
        case '#':
            reply.type = Reply::Type::integer;
            reply.integer = rest == "t";
            return reply;
        case '+': reply.type = Reply::Type::status; break;
        case '-': reply.type = Reply::Type::error; break;
        default: reply.type = Reply::Type::text; break;
    }
    reply.text = rest;
    return reply;
}

namespace {

void append_length(std::string& out, char type, std::size_t value) {
    std::array<char, 24> text;
    text[0] = type;
    char* const end = std::to_chars(text.data() + 1, text.data() + text.size(), value).ptr;
    end[0] = '\r';
    end[1] = '\n';
    out.append(text.data(), static_cast<std::size_t>(end - text.data()) + 2);
}

}  // namespace

void append_command_header(std::string& out, std::size_t arguments) { append_length(out, '*', arguments); }
void append_argument_header(std::string& out, std::size_t size) { append_length(out, '$', size); }

void append_argument(std::string& out, std::string_view argument) {
    append_argument_header(out, argument.size());
    out.append(argument);
    out.append("\r\n");
}

void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
    append_command_header(out, arguments.size());
    for (const std::string_view argument : arguments) append_argument(out, argument);
}

}  // namespace kombu::redis
