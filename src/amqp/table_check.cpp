// SPDX-License-Identifier: BSD-3-Clause
#include "amqp/table_check.hpp"

#include <amqp.h>
#include <amqp_framing.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace kombu::amqp {
namespace {

constexpr int max_received_depth = 64;

/// Reads forward. A read beyond the end empties the cursor and sets broken().
class Cursor {
public:
    explicit Cursor(std::string_view data) : rest_(data) {}

    bool at_end() const noexcept { return rest_.empty(); }
    bool broken() const noexcept { return broken_; }
    std::string_view read_bytes(std::size_t size) noexcept {
        if (size > rest_.size()) {
            rest_ = {};
            broken_ = true;
            return {};
        }
        const std::string_view result = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return result;
    }
    /// A cursor over the next block, which has a length prefix.
    Cursor read_nested() noexcept {
        Cursor inner{read_bytes(read_number(4))};
        inner.broken_ = broken_;
        return inner;
    }
    std::size_t read_number(std::size_t bytes) noexcept {
        std::size_t value = 0;
        for (const char c : read_bytes(bytes)) value = value << 8 | static_cast<unsigned char>(c);
        return value;
    }

private:
    std::string_view rest_;
    bool broken_ = false;
};

bool has_invalid_entries(Cursor entries, bool has_keys, int depth) {
    if (depth > max_received_depth || entries.broken()) return true;
    while (!entries.at_end()) {
        if (has_keys) entries.read_bytes(entries.read_number(1));
        switch (entries.read_number(1)) {
            case AMQP_FIELD_KIND_TABLE:
                if (has_invalid_entries(entries.read_nested(), true, depth + 1)) return true;
                break;
            case AMQP_FIELD_KIND_ARRAY:
                if (has_invalid_entries(entries.read_nested(), false, depth + 1)) return true;
                break;
            case AMQP_FIELD_KIND_UTF8:
            case AMQP_FIELD_KIND_BYTES: entries.read_bytes(entries.read_number(4)); break;
            case AMQP_FIELD_KIND_BOOLEAN:
            case AMQP_FIELD_KIND_I8:
            case AMQP_FIELD_KIND_U8: entries.read_bytes(1); break;
            case AMQP_FIELD_KIND_I16:
            case AMQP_FIELD_KIND_U16: entries.read_bytes(2); break;
            case AMQP_FIELD_KIND_I32:
            case AMQP_FIELD_KIND_U32:
            case AMQP_FIELD_KIND_F32: entries.read_bytes(4); break;
            case AMQP_FIELD_KIND_DECIMAL: entries.read_bytes(5); break;
            case AMQP_FIELD_KIND_I64:
            case AMQP_FIELD_KIND_U64:
            case AMQP_FIELD_KIND_F64:
            case AMQP_FIELD_KIND_TIMESTAMP: entries.read_bytes(8); break;
            case AMQP_FIELD_KIND_VOID: break;
            default: return false;  // librabbitmq stops here too
        }
        if (entries.broken()) return true;
    }
    return false;
}

}  // namespace

bool is_malformed_or_too_deep(std::string_view encoded_table) {
    return has_invalid_entries(Cursor{encoded_table}.read_nested(), true, 1);
}

std::string_view find_headers(std::string_view encoded_properties) {
    Cursor cursor{encoded_properties};
    const std::size_t flags = cursor.read_number(2);
    for (std::size_t more = flags; (more & 1) != 0 && !cursor.at_end();) more = cursor.read_number(2);
    if (flags & AMQP_BASIC_CONTENT_TYPE_FLAG) cursor.read_bytes(cursor.read_number(1));
    if (flags & AMQP_BASIC_CONTENT_ENCODING_FLAG) cursor.read_bytes(cursor.read_number(1));
    if (!(flags & AMQP_BASIC_HEADERS_FLAG)) return {};
    const std::string_view size = cursor.read_bytes(4);
    const std::string_view table = cursor.read_bytes(size.empty() ? 0 : Cursor{size}.read_number(4));
    return table.empty() ? std::string_view{} : std::string_view{size.data(), size.size() + table.size()};
}

std::string without_headers(std::string_view encoded_properties, std::string_view headers) {
    const auto before = static_cast<std::size_t>(headers.data() - encoded_properties.data());
    std::string rest{encoded_properties.substr(0, before)};
    rest[0] = static_cast<char>(rest[0] & ~(AMQP_BASIC_HEADERS_FLAG >> 8));
    return rest.append(encoded_properties.substr(before + headers.size()));
}

}  // namespace kombu::amqp
