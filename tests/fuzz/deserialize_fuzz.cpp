// SPDX-License-Identifier: BSD-3-Clause
// Bodies of every serializer, and texts of every encoding: a typed error, or a value that survives a round trip.
#include <kombu/error.hpp>
#include <kombu/serialization.hpp>

#include "fuzz.hpp"

#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

void fuzz(std::string_view input) {
    using namespace kombu;
    static constexpr const char* types[] = {"application/json", "application/x-msgpack", "application/x-yaml",
                                            "text/plain", "application/data"};
    static constexpr const char* serializers[] = {"json", "msgpack", "yaml"};
    static constexpr const char* encodings[] = {"utf-8",  "binary",    "us-ascii", "latin-1", "utf-16",
                                                "utf-32", "shift_jis", "euc_jp",   "gb18030", "big5",
                                                "koi8-r", "cp1252",    "",         "nonsense"};
    static const ContentTypes accept{"json", "text", "bytes", "msgpack", "yaml"};
    const std::size_t type = take_byte(input) % std::size(types);
    const char* const encoding = type < 3 ? "utf-8" : encodings[take_byte(input) % std::size(encodings)];
    Json value;
    try {
        value = decode_body(input, types[type], encoding, accept);
    } catch (const DecodeError&) {
        return;
    } catch (const SerializerNotInstalled&) {
        return;
    }
    if (type >= std::size(serializers)) return;
    EncodedBody encoded;
    try {
        encoded = encode_body(value, serializers[type]);
    } catch (const EncodeError&) {  // NaN in JSON, for one
        return;
    }
    const Json again = decode_body(encoded.data, encoded.content_type, encoded.content_encoding, accept);
    require(encode_body(again, serializers[type]).data == encoded.data, "a decoded value survives a round trip");
}
