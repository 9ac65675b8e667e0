// SPDX-License-Identifier: BSD-3-Clause
#include "messages/charset.hpp"

#include <kombu/error.hpp>

#include "support/utf8.hpp"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <utility>

namespace kombu {
namespace {

/// Python's names for iconv's. Without the characters that only vary the spelling.
std::string iconv_name(std::string_view charset) {
    std::string name;
    for (const char c : charset.substr(0, 40)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '_' || c == ' ')
            name += '-';
        else if (std::isalnum(byte) || c == '-' || c == '.' || c == ':')
            name += static_cast<char>(std::tolower(byte));
        else
            return {};  // iconv takes what follows a slash for an instruction
    }
    constexpr std::array<std::pair<std::string_view, std::string_view>, 8> python_names{{{"latin-1", "latin1"},
                                                                                         {"utf-16-le", "utf-16le"},
                                                                                         {"utf-16-be", "utf-16be"},
                                                                                         {"utf-32-le", "utf-32le"},
                                                                                         {"utf-32-be", "utf-32be"},
                                                                                         {"iso8859-1", "iso-8859-1"},
                                                                                         {"iso8859-15", "iso-8859-15"},
                                                                                         {"shift-jis", "shift_jis"}}};
    for (const auto& [python, iconv] : python_names)
        if (name == python) return std::string{iconv};
    return name;
}

class Converter {
public:
    explicit Converter(const std::string& from) : handle_(::iconv_open("UTF-8", from.c_str())) {}
    Converter(const Converter&) = delete;
    Converter& operator=(const Converter&) = delete;
    ~Converter() {
        if (is_valid()) ::iconv_close(handle_);
    }
    bool is_valid() const noexcept { return handle_ != reinterpret_cast<iconv_t>(-1); }

    /// False when the text is not valid.
    bool convert(std::string_view text, std::string& out) {
        char* in = const_cast<char*>(text.data());  // iconv only reads it
        std::size_t in_left = text.size();
        std::array<char, 4096> buffer;
        for (bool flushed = false; !flushed;) {
            char* to = buffer.data();
            std::size_t to_left = buffer.size();
            flushed = in_left == 0;
            const std::size_t result = flushed ? ::iconv(handle_, nullptr, nullptr, &to, &to_left)
                                               : ::iconv(handle_, &in, &in_left, &to, &to_left);
            if (result == static_cast<std::size_t>(-1) && errno != E2BIG) return false;
            out.append(buffer.data(), buffer.size() - to_left);
        }
        return true;
    }

private:
    iconv_t handle_;
};

}  // namespace

bool is_utf8_name(std::string_view charset) {
    const std::string name = iconv_name(charset);
    return charset.empty() || name == "utf-8" || name == "utf8";
}

std::string to_utf8(std::string_view text, std::string_view charset) {
    const std::string name = iconv_name(charset);
    const std::string shown = name.empty() ? "which is no name" : name;
    Converter converter{name};
    if (name.empty() || !converter.is_valid()) throw DecodeError("the content encoding is unknown: " + shown);
    std::string out;
    out.reserve(text.size());
    if (!converter.convert(text, out) || !is_utf8(out)) throw DecodeError("the text is not valid " + shown);
    return out;
}

bool is_binary_encoding(std::string_view content_encoding) noexcept {
    return content_encoding == "binary" || content_encoding == "ascii-8bit";
}

}  // namespace kombu
