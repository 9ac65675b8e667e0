// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace kombu::detail {

template <class Key>
concept HasFingerprint = requires(const Key& key) {
    { key.fingerprint() }
    noexcept->std::same_as<std::uint64_t>;
};
template <class Key>
concept IsText = std::same_as<Key, std::string>;  // what merely converts to text may have a rest that counts
template <class Key>
concept IsSmall = std::has_unique_object_representations_v<Key> && sizeof(Key) <= 16 && !IsText<Key> &&
                  !HasFingerprint<Key>;

/// What a thread remembers of the key it looked up last: enough to say "the same", cheaper than a hash, and nothing
/// that can dangle. The general one remembers nothing.
template <class Key>
struct KeyPrint {
    static std::size_t index(const Key&) noexcept { return 0; }
    bool matches(const Key&) const noexcept { return false; }
    bool remember(const Key&) noexcept { return false; }
};

/// A number, the same for keys that are equal, and maybe not for all of them; 0: cannot tell.
template <HasFingerprint Key>
struct KeyPrint<Key> {
    std::uint64_t print = 0;
    static std::size_t index(const Key& key) noexcept { return static_cast<std::size_t>(key.fingerprint()); }
    bool matches(const Key& key) const noexcept { return print == key.fingerprint(); }
    bool remember(const Key& key) noexcept { return (print = key.fingerprint()) != 0; }
};

template <IsText Key>
struct KeyPrint<Key> {
    std::array<char, 96> text{};
    std::size_t size = 0;
    static std::size_t index(const Key& key) noexcept { return std::string_view{key}.size(); }
    bool matches(const Key& key) const noexcept { return std::string_view{text.data(), size} == std::string_view{key}; }
    bool remember(const Key& key) noexcept {
        const std::string_view view{key};
        size = view.copy(text.data(), text.size());
        return size == view.size();
    }
};

template <IsSmall Key>
struct KeyPrint<Key> {
    std::array<unsigned char, sizeof(Key)> bytes{};
    static std::size_t index(const Key& key) noexcept { return *reinterpret_cast<const unsigned char*>(&key); }
    bool matches(const Key& key) const noexcept { return std::memcmp(bytes.data(), &key, sizeof key) == 0; }
    bool remember(const Key& key) noexcept {
        std::memcpy(bytes.data(), &key, sizeof key);
        return true;
    }
};

/// The last look-ups of this thread among all groups of one kind.
template <class Key, class Pool>
struct RecentLookups {
    static constexpr std::size_t size = 8;
    struct Lookup {
        std::uint64_t version = 0;  ///< of the group; no two groups have had the same
        Pool* pool = nullptr;
        KeyPrint<Key> key{};
    };
    static Lookup& of(std::uint64_t group, const Key& key) noexcept {
        return lookups[(group + KeyPrint<Key>::index(key)) % size];
    }
    static inline constinit thread_local std::array<Lookup, size> lookups{};
};

}  // namespace kombu::detail
