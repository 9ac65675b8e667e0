// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/serialization.hpp>

#include "messages/charset.hpp"
#include "messages/encoding.hpp"
#include "messages/json_depth.hpp"
#include "messages/json_writer.hpp"
#include "messages/msgpack.hpp"
#include "messages/yaml.hpp"
#include "support/pieces.hpp"
#include "support/suggestion.hpp"
#include "support/utf8.hpp"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace kombu {
namespace {

constexpr std::string_view data_type = "application/data";
constexpr std::string_view text_type = "application/text", text_plain = "text/plain";

Json to_binary(std::string_view data) { return Json::binary(std::vector<std::uint8_t>(data.begin(), data.end())); }

std::string encode_text(const Json& body) {
    if (!body.is_string()) throw EncodeError("the text serializer accepts only text");
    const auto& text = body.get_ref<const std::string&>();
    if (!is_utf8(text)) throw EncodeError("the text is not valid UTF-8");
    return text;
}

std::string encode_bytes(const Json& body) {
    if (body.is_string()) return body.get_ref<const std::string&>();
    if (!body.is_binary()) throw EncodeError("the bytes serializer accepts only bytes or text");
    return {body.get_binary().begin(), body.get_binary().end()};
}

Json decode_text(std::string_view data) {
    if (!is_utf8(data)) throw DecodeError("the text is not valid UTF-8");
    return Json(std::string{data});
}

Json decode_json(std::string_view data) {
    if (json_text::nests_too_deep(data)) throw DecodeError("the body nests more than 256 levels deep");
    return Json::parse(data.begin(), data.end());
}

std::string encode_json(const Json& body) {
    std::string text;
    json_text::append_compact(text, body);
    return text;
}

/// "Application/JSON; charset=utf-8" is application/json with this character set.
struct MediaType {
    std::string name;
    std::string charset{};

    explicit MediaType(std::string_view text) : name(trimmed_lower(text.substr(0, text.find(';')))) {
        if (name.empty()) name = data_type;
        while (text.find(';') != std::string_view::npos) {
            text.remove_prefix(text.find(';') + 1);
            const std::string parameter = trimmed_lower(text.substr(0, text.find(';')));
            constexpr std::string_view key = "charset=";
            if (parameter.starts_with(key)) charset = parameter.substr(key.size());
        }
        std::erase(charset, '"');
    }

private:
    static std::string trimmed_lower(std::string_view text) {
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
        std::string lower{text};
        std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
        return lower;
    }
};

constexpr std::string_view pickle_name = "pickle", pickle_type = "application/x-python-serialize";

/// The serializers, and which content types a default ContentTypes accepts.
struct Serializers {
    using Map = std::map<std::string, std::shared_ptr<const Serializer>, std::less<>>;
    Map by_name{}, by_type{};
    std::set<std::string, std::less<>> enabled{"application/json", "text/plain"};

    void add(Serializer serializer) {
        auto shared = std::make_shared<const Serializer>(std::move(serializer));
        by_type[MediaType{shared->content_type}.name] = shared;
        by_name[shared->name] = std::move(shared);
    }

    static Serializers built_in() {
        Serializers all;
        all.add({"json", "application/json", "utf-8", encode_json, decode_json});
        all.add({"text", "text/plain", "utf-8", encode_text, decode_text});
        all.add({"bytes", std::string{data_type}, "binary", encode_bytes, to_binary});
        all.add({"raw", std::string{data_type}, "binary", encode_bytes, to_binary});
        all.add({"msgpack", "application/x-msgpack", "binary", msgpack::encode, msgpack::decode});
#ifdef KOMBU_WITH_YAML
        all.add({"yaml", "application/x-yaml", "utf-8", yaml::encode, yaml::decode});
#endif
        return all;
    }
};

class Registry {
public:
    template <class Change>
    void change(Change apply) {
        const auto lock = serializers_.lock();
        Serializers serializers = serializers_.get();
        apply(serializers);
        serializers_.set(std::move(serializers));
        version_.fetch_add(1, std::memory_order_release);
    }
    /// Differs after each change.
    std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }

    std::shared_ptr<const Serializer> by_name(std::string_view name) const { return find(&Serializers::by_name, name); }
    std::shared_ptr<const Serializer> by_type(std::string_view type) const { return find(&Serializers::by_type, type); }
    bool is_enabled(std::string_view type) const {
        const auto lock = serializers_.lock();
        return serializers_.get().enabled.contains(type);
    }

    std::vector<std::string> names() const {
        const auto lock = serializers_.lock();
        std::vector<std::string> names;
        for (const auto& [name, serializer] : serializers_.get().by_name) names.push_back(name);
        return names;
    }

private:
    std::shared_ptr<const Serializer> find(Serializers::Map Serializers::*index, std::string_view key) const {
        const auto lock = serializers_.lock();
        const Serializers::Map& map = serializers_.get().*index;
        const auto found = map.find(key);
        return found == map.end() ? nullptr : found->second;
    }

    detail::CopyOnWrite<Serializers> serializers_{Serializers::built_in()};
    std::atomic<std::uint64_t> version_{1};
};

/// Never destroyed, since producers in other static objects may outlive it.
Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

void refuse_pickle(std::string_view name_or_type) {
    if (name_or_type == pickle_name || name_or_type == pickle_type)
        throw ContentDisallowed(
            "pickle is refused: to decode it means to execute what its sender wrote; use json or "
            "msgpack");
}

/// Throws SerializerNotInstalled that lists the known names.
std::shared_ptr<const Serializer> find_serializer(std::string_view name) {
    if (auto serializer = registry().by_name(name)) return serializer;
    refuse_pickle(name);
#ifndef KOMBU_WITH_YAML
    if (name == "yaml")
        throw SerializerNotInstalled("yaml is not built in: yaml-cpp was not found when the library was built");
#endif
    throw SerializerNotInstalled("no such serializer: " + std::string{name.substr(0, 100)} + " (" +
                                 suggest(name, registry().names()) + ")");
}

/// The content type that a name stands for, which may be a content type itself.
std::string type_of(std::string_view name) {
    const bool is_type = name.find('/') != std::string_view::npos;
    std::string type = MediaType{is_type ? name : std::string_view{find_serializer(name)->content_type}}.name;
    refuse_pickle(type);
    return type;
}

/// The content type of a registered serializer.
std::string registered_type(std::string_view name) {
    std::string type = type_of(name);
    if (!registry().by_type(type)) find_serializer(name);  // which throws
    return type;
}

}  // namespace

ContentTypes::ContentTypes(std::initializer_list<std::string_view> names) {
    std::set<std::string, std::less<>> types;
    for (const std::string_view name : names) types.insert(type_of(name));
    types_ = std::make_shared<const std::set<std::string, std::less<>>>(std::move(types));
}

bool ContentTypes::accepts(std::string_view content_type) const {
    const std::string name = MediaType{content_type}.name;
    if (name == data_type || name == text_type) return true;
    return types_ ? types_->contains(name) : registry().is_enabled(name);
}

void register_serializer(Serializer serializer) {
    if (serializer.name.empty() || serializer.content_type.empty() || !serializer.encode || !serializer.decode)
        throw ConfigurationError("Serializer: name, content_type, encode and decode must be set");
    refuse_pickle(serializer.name);
    refuse_pickle(MediaType{serializer.content_type}.name);
    registry().change([&](Serializers& all) { all.add(std::move(serializer)); });
}

void unregister_serializer(std::string_view name) {
    const auto serializer = find_serializer(name);
    registry().change([&](Serializers& all) {
        all.by_name.erase(serializer->name);
        const auto same_type = [&](const auto& entry) {
            return entry.second->content_type == serializer->content_type;
        };
        if (const auto other = std::ranges::find_if(all.by_name, same_type); other != all.by_name.end())
            all.by_type[MediaType{serializer->content_type}.name] = other->second;
        else
            all.by_type.erase(MediaType{serializer->content_type}.name);
    });
}

void enable_serializer(std::string_view name) {
    const std::string type = registered_type(name);
    registry().change([&](Serializers& all) { all.enabled.insert(type); });
}

void disable_serializer(std::string_view name) {
    const std::string type = registered_type(name);
    registry().change([&](Serializers& all) { all.enabled.erase(type); });
}

namespace {

/// Whether the serializer is still the built-in one.
bool is_encoded_by(const Serializer& serializer, std::string (*function)(const Json&)) {
    const auto* const target = serializer.encode.target<std::string (*)(const Json&)>();
    return target && *target == function;
}

template <class Encode>
SerializedBody encode_by(const Serializer& serializer, Deadline deadline, Encode encode) {
    try {
        const std::string_view data = encode();
        check_in_time(deadline);
        return {serializer.content_type, serializer.content_encoding, data};
    } catch (const EncodeError&) {
        throw;
    } catch (const Timeout&) {
        throw;
    } catch (const std::exception& error) {
        throw EncodeError("the body cannot be encoded as " + serializer.name + ": " + error.what());
    }
}

}  // namespace

const Serializer& SerializerCache::find(std::string_view name, std::shared_ptr<const Serializer>& holder) {
    const std::uint64_t version = registry().version();
    if (last_ && version_ == version && last_->name == name) return *last_;
    holder = find_serializer(name);
    if (is_encoded_by(*holder, encode_json) || is_encoded_by(*holder, encode_text)) {
        last_ = holder;
        version_ = version;
    }
    return *holder;
}

SerializedBody encode_with(const Json& body, const Serializer& serializer, std::string& buffer, Deadline deadline) {
    return encode_by(serializer, deadline, [&] {
        if (is_encoded_by(serializer, encode_json)) {
            buffer.clear();
            json_text::append_compact(buffer, body, deadline);
        } else {
            buffer = serializer.encode(body);
        }
        return std::string_view{buffer};
    });
}

SerializedBody encode_with(std::string_view text, const Serializer& serializer, std::string& buffer,
                           Deadline deadline) {
    return encode_by(serializer, deadline, [&] {
        if (!is_encoded_by(serializer, encode_text)) {
            buffer = serializer.encode(Json(std::string{text}));
            return std::string_view{buffer};
        }
        for_each_piece(text, deadline, [](std::string_view piece) {
            if (!is_utf8(piece)) throw EncodeError("the text is not valid UTF-8");
        });
        return text;
    });
}

EncodedBody encode_body(const Json& body, std::string_view serializer) {
    const std::shared_ptr<const Serializer> chosen = find_serializer(serializer);
    std::string data;
    const SerializedBody encoded = encode_with(body, *chosen, data);
    return {std::string{encoded.content_type}, std::string{encoded.content_encoding}, std::move(data)};
}

Json decode_body(std::string_view data, std::string_view content_type, std::string_view content_encoding,
                 const ContentTypes& accept) {
    const MediaType type{content_type};
    if (!accept.accepts(type.name))
        throw ContentDisallowed("refusing to decode content of type " + type.name.substr(0, 100) +
                                ": it is not accepted");
    const std::string_view charset = content_encoding.empty() ? std::string_view{type.charset} : content_encoding;
    const auto serializer = registry().by_type(type.name);
    try {
        // As in Kombu, an empty body is not decoded, and an accepted type without a serializer is text unless its
        // encoding is binary; data that is not UTF-8 is bytes then.
        const bool is_binary = is_binary_encoding(charset) || type.name == data_type;
        if (data.empty()) return is_binary ? to_binary(data) : Json("");
        // JSON is always UTF-8, or says otherwise in words that are known; other serializers know their encoding.
        const bool is_raw = serializer && serializer->content_type != text_plain &&
                            (!is_known_charset(charset) || charset == serializer->content_encoding);
        const bool convert = !is_binary && !is_raw && !is_utf8_name(charset);
        if (serializer) return convert ? serializer->decode(to_utf8(data, charset)) : serializer->decode(data);
        if (convert) return Json(to_utf8(data, charset));
        return is_binary || !is_utf8(data) ? to_binary(data) : Json(std::string{data});
    } catch (const DecodeError&) {
        throw;
    } catch (const Json::parse_error& error) {
        // The parser's text is not used: it quotes the body, which is untrusted.
        throw DecodeError("the body is not valid JSON (at byte " + std::to_string(error.byte) + ")");
    } catch (const std::exception& error) {
        throw DecodeError("the body cannot be decoded as " + std::string{content_type.substr(0, 100)} + ": " +
                          error.what());
    }
}

}  // namespace kombu
