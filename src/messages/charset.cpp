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
#include <iterator>

namespace kombu {
namespace {

struct Charset {
    std::string_view name;  // without '-', '_' and ' ', in lower case
    const char* iconv_name;
};

/// The peer chooses: iconv would load a module for any name it is given, and some of those had faults that ended or
/// stopped the process.
constexpr Charset charsets[] = {
    {"ascii", "ASCII"},
    {"usascii", "ASCII"},
    {"latin1", "ISO-8859-1"},
    {"l1", "ISO-8859-1"},
    {"iso88591", "ISO-8859-1"},
    {"iso88592", "ISO-8859-2"},
    {"iso88595", "ISO-8859-5"},
    {"iso88597", "ISO-8859-7"},
    {"iso88599", "ISO-8859-9"},
    {"iso885915", "ISO-8859-15"},
    {"latin9", "ISO-8859-15"},
    {"cp1250", "CP1250"},
    {"windows1250", "CP1250"},
    {"cp1251", "CP1251"},
    {"windows1251", "CP1251"},
    {"cp1252", "CP1252"},
    {"windows1252", "CP1252"},
    {"cp1253", "CP1253"},
    {"windows1253", "CP1253"},
    {"cp1254", "CP1254"},
    {"windows1254", "CP1254"},
    {"koi8r", "KOI8-R"},
    {"koi8u", "KOI8-U"},
    {"macroman", "MACINTOSH"},
    {"utf16", "UTF-16"},
    {"utf16le", "UTF-16LE"},
    {"utf16be", "UTF-16BE"},
    {"utf32", "UTF-32"},
    {"utf32le", "UTF-32LE"},
    {"utf32be", "UTF-32BE"},
    {"shiftjis", "SHIFT_JIS"},
    {"sjis", "SHIFT_JIS"},
    {"eucjp", "EUC-JP"},
    {"gb18030", "GB18030"},
    {"gbk", "GBK"},
    {"big5", "BIG5"},
};

std::string simplified(std::string_view charset) {
    std::string name;
    for (const char c : charset.substr(0, 40))
        if (c != '-' && c != '_' && c != ' ') name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return name;
}

const Charset* find_charset(std::string_view charset) {
    const auto* const found = std::ranges::find(charsets, std::string_view{simplified(charset)}, &Charset::name);
    return found == std::end(charsets) ? nullptr : found;
}

class Converter {
public:
    explicit Converter(const char* from) : handle_(::iconv_open("UTF-8", from)) {}
    Converter(const Converter&) = delete;
    Converter& operator=(const Converter&) = delete;
    ~Converter() {
        if (is_valid()) ::iconv_close(handle_);
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr): so iconv_open(3) reports an error
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
    const std::string name = simplified(charset);
    return charset.empty() || name == "utf8" || name == "utf";
}

bool is_known_charset(std::string_view charset) {
    return is_utf8_name(charset) || simplified(charset) == "utf8sig" || find_charset(charset);
}

std::string to_utf8(std::string_view text, std::string_view charset) {
    if (simplified(charset) == "utf8sig") {
        constexpr std::string_view mark = "\xef\xbb\xbf";
        if (text.starts_with(mark)) text.remove_prefix(mark.size());
        if (!is_utf8(text)) throw DecodeError("the text is not valid UTF-8");
        return std::string{text};
    }
    const Charset* const known = find_charset(charset);
    if (!known) {
        const bool is_shown = is_utf8(charset) && charset.size() <= 40;
        throw DecodeError("the content encoding is unknown" + (is_shown ? ": " + std::string{charset} : ""));
    }
    Converter converter{known->iconv_name};
    std::string out;
    out.reserve(text.size());
    if (!converter.is_valid()) throw DecodeError(std::string{"the C library cannot convert "} + known->iconv_name);
    if (!converter.convert(text, out) || !is_utf8(out))
        throw DecodeError(std::string{"the text is not valid "} + known->iconv_name);
    return out;
}

bool is_binary_encoding(std::string_view content_encoding) noexcept {
    return content_encoding == "binary" || content_encoding == "ascii-8bit";
}

}  // namespace kombu
