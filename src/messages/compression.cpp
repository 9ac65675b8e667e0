// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/compression.hpp>
#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>

#include "messages/codec.hpp"
#include "messages/encoding.hpp"
#include "support/suggestion.hpp"

#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace kombu {

char* codec::Output::space() {
    struct Buffer {
        char bytes[space_size];
    };
    return of_this_thread<Buffer>().bytes;
}

namespace {

using Compress = std::string(std::string_view, Deadline);
using Decompress = std::string(std::string_view, std::size_t);

/// A method, built in or registered.
struct Method {
    std::string content_type;
    std::function<Compress> compress{};
    std::function<Decompress> decompress{};
    /// What is missing in this build; the functions are empty then.
    std::string missing_library{};
};

using MethodPointer = std::shared_ptr<const Method>;
using Methods = std::map<std::string, MethodPointer, std::less<>>;

void add(Methods& methods, Method method, std::initializer_list<std::string_view> aliases) {
    const auto shared = std::make_shared<const Method>(std::move(method));
    methods[shared->content_type] = shared;
    for (const std::string_view alias : aliases) methods[std::string{alias}] = shared;
}

/// The names and types are Kombu's; zlib and gzip are both a zlib stream there.
Methods built_in_methods() {
    Methods methods;
    add(methods, {"application/x-gzip", codec::zlib_compress, codec::zlib_decompress}, {"zlib", "gzip"});
#ifdef KOMBU_WITH_BZIP2
    Method bzip2{"application/x-bz2", codec::bzip2_compress, codec::bzip2_decompress};
#else
    Method bzip2{"application/x-bz2", {}, {}, "libbz2"};
#endif
#ifdef KOMBU_WITH_LZMA
    Method lzma{"application/x-lzma", codec::xz_compress, codec::xz_decompress};
#else
    Method lzma{"application/x-lzma", {}, {}, "liblzma"};
#endif
#ifdef KOMBU_WITH_ZSTD
    Method zstd{"application/zstd", codec::zstd_compress, codec::zstd_decompress};
#else
    Method zstd{"application/zstd", {}, {}, "libzstd"};
#endif
#ifdef KOMBU_WITH_BROTLI
    Method brotli{"application/x-brotli", codec::brotli_compress, codec::brotli_decompress};
#else
    Method brotli{"application/x-brotli", {}, {}, "libbrotli"};
#endif
    add(methods, std::move(bzip2), {"bzip2", "bzip", "bz2"});
    add(methods, std::move(lzma), {"lzma", "xz"});
    add(methods, std::move(zstd), {"zstd", "zstandard"});
    add(methods, std::move(brotli), {"brotli"});
    return methods;
}

/// Never destroyed, since producers in other static objects may outlive it.
detail::CopyOnWrite<Methods>& method_registry() {
    static auto* const instance = new detail::CopyOnWrite<Methods>{built_in_methods()};
    return *instance;
}

MethodPointer find_method(std::string_view name) {
    const auto lock = method_registry().lock();
    const Methods& methods = method_registry().get();
    if (const auto found = methods.find(name); found != methods.end()) {
        if (found->second->missing_library.empty()) return found->second;
        throw SerializerNotInstalled("the compression " + std::string{name} + " is not built in: " +
                                     found->second->missing_library + " was not found when the library was built");
    }
    std::vector<std::string> names;
    for (const auto& [known, method] : methods)
        if (method->missing_library.empty()) names.push_back(known);
    throw SerializerNotInstalled("no such compression: " + std::string{name.substr(0, 100)} + " (" +
                                 suggest(name, names) + ")");
}

}  // namespace

void register_compression(Compression compression) {
    if (compression.content_type.empty() || !compression.compress || !compression.decompress)
        throw ConfigurationError("Compression: content_type, compress and decompress must be set");
    const auto method = std::make_shared<const Method>(
        Method{compression.content_type,
               [compress = std::move(compression.compress)](std::string_view data, Deadline) { return compress(data); },
               std::move(compression.decompress)});
    const auto lock = method_registry().lock();
    Methods methods = method_registry().get();
    methods[method->content_type] = method;
    for (std::string& name : compression.names) methods[std::move(name)] = method;
    method_registry().set(std::move(methods));
}

std::string compression_type(std::string_view name) { return find_method(name)->content_type; }

std::string compress(std::string_view data, std::string_view name, Deadline deadline) {
    const MethodPointer method = find_method(name);
    try {
        std::string compressed = method->compress(data, deadline);
        check_in_time(deadline);
        return compressed;
    } catch (const EncodeError&) {
        throw;
    } catch (const Timeout&) {
        throw;
    } catch (const std::exception& error) {
        throw EncodeError("the body cannot be compressed as " + method->content_type + ": " + error.what());
    }
}

std::string compress(std::string_view data, std::string_view name) { return compress(data, name, Deadline::never()); }

std::string decompress(std::string_view data, std::string_view name, std::size_t limit) {
    const MethodPointer method = find_method(name);
    std::string body;
    try {
        body = method->decompress(data, limit);
    } catch (const DecodeError&) {
        throw;
    } catch (const std::exception& error) {
        throw DecodeError("the body cannot be decompressed as " + method->content_type + ": " + error.what());
    }
    if (body.size() > limit)
        throw DecodeError("the decompressed body would exceed " + std::to_string(limit) + " bytes");
    return body;
}

}  // namespace kombu
