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
concept IsText = std::same_as<Key, std::string>;  // a type that converts to text may differ in more than the text
template <class Key>
concept IsSmall = std::has_unique_object_representations_v<Key> && sizeof(Key) <= 16 && !IsText<Key> &&
                  !HasFingerprint<Key>;

/// A copy of a key that can tell whether another key is the same, cheaper than a hash and without references. The
/// general one never can.
template <class Key>
struct KeyFingerprint {
    static std::size_t index(const Key&) noexcept { return 0; }
    bool matches(const Key&) const noexcept { return false; }
    bool store(const Key&) noexcept { return false; }
};

/// Keys with the same number are equal; equal keys may have different numbers. 0: none.
template <HasFingerprint Key>
struct KeyFingerprint<Key> {
    std::uint64_t value = 0;
    static std::size_t index(const Key& key) noexcept { return static_cast<std::size_t>(key.fingerprint()); }
    bool matches(const Key& key) const noexcept { return value == key.fingerprint(); }
    bool store(const Key& key) noexcept { return (value = key.fingerprint()) != 0; }
};

template <IsText Key>
struct KeyFingerprint<Key> {
    std::array<char, 96> text{};
    std::size_t size = 0;
    static std::size_t index(const Key& key) noexcept { return std::string_view{key}.size(); }
    bool matches(const Key& key) const noexcept { return std::string_view{text.data(), size} == std::string_view{key}; }
    bool store(const Key& key) noexcept {
        const std::string_view view{key};
        size = view.copy(text.data(), text.size());
        return size == view.size();
    }
};

template <IsSmall Key>
struct KeyFingerprint<Key> {
    std::array<unsigned char, sizeof(Key)> bytes{};
    static std::size_t index(const Key& key) noexcept { return *reinterpret_cast<const unsigned char*>(&key); }
    bool matches(const Key& key) const noexcept { return std::memcmp(bytes.data(), &key, sizeof key) == 0; }
    bool store(const Key& key) noexcept {
        std::memcpy(bytes.data(), &key, sizeof key);
        return true;
    }
};

/// The last look-ups of this thread in all groups of one type.
template <class Key, class Pool>
struct LookupCache {
    static constexpr std::size_t size = 8;
    struct Lookup {
        std::uint64_t version = 0;  ///< of the group; unique among all groups
        Pool* pool = nullptr;
        KeyFingerprint<Key> key{};
    };
    static Lookup& of(std::uint64_t group, const Key& key) noexcept {
        return lookups[(group + KeyFingerprint<Key>::index(key)) % size];
    }
    static inline constinit thread_local std::array<Lookup, size> lookups{};
};

}  // namespace kombu::detail
