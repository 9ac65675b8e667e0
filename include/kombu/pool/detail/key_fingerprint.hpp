// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
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

/// Two numbers that tell whether another key is the same, cheaper than by a look-up in a map. The general ones are the
/// address of the group's copy of the key, which exists as long as the version of the group is the same.
template <class Key>
struct KeyFingerprint {
    using Numbers = std::array<std::uint64_t, 2>;
    static std::uint64_t hash(const Key& key) { return std::hash<Key>{}(key); }
    static bool matches(const Numbers& numbers, const Key& key) {
        return *std::bit_cast<const Key*>(static_cast<std::uintptr_t>(numbers[0])) == key;
    }
    static Numbers of(const Key&, const Key& stored) noexcept { return {std::bit_cast<std::uintptr_t>(&stored), 0}; }
};

/// Keys with the same number are equal; equal keys may have different numbers. 0: none.
template <HasFingerprint Key>
struct KeyFingerprint<Key> {
    using Numbers = std::array<std::uint64_t, 2>;
    static std::uint64_t hash(const Key& key) noexcept { return key.fingerprint(); }
    static bool matches(const Numbers& numbers, const Key& key) noexcept {
        return numbers[0] == key.fingerprint() && numbers[0] != 0;
    }
    static Numbers of(const Key& key, const Key&) noexcept { return {key.fingerprint(), 0}; }
};

template <IsText Key>
struct KeyFingerprint<Key> {
    using Numbers = std::array<std::uint64_t, 2>;
    /// Of the size and three samples: hashing a URL costs more than comparing it.
    static std::uint64_t hash(const Key& key) noexcept {
        const std::string_view text{key};
        constexpr std::size_t sample_size = 8;
        const std::size_t size = std::min(text.size(), sample_size);
        std::uint64_t hash = text.size();
        for (const std::size_t at : {std::size_t{0}, (text.size() - size) / 2, text.size() - size}) {
            std::uint64_t sample = 0;
            text.copy(reinterpret_cast<char*>(&sample), size, at);
            hash = (std::rotl(hash, 23) ^ sample) * 0xff51afd7ed558ccd;
        }
        return hash;
    }
    static bool matches(const Numbers& numbers, const Key& key) noexcept {
        return *std::bit_cast<const Key*>(static_cast<std::uintptr_t>(numbers[0])) == key;
    }
    static Numbers of(const Key&, const Key& stored) noexcept { return {std::bit_cast<std::uintptr_t>(&stored), 0}; }
};

template <IsSmall Key>
struct KeyFingerprint<Key> {
    using Numbers = std::array<std::uint64_t, 2>;
    static Numbers of(const Key& key) noexcept {
        Numbers numbers{};
        std::memcpy(numbers.data(), &key, sizeof key);
        return numbers;
    }
    static Numbers of(const Key& key, const Key&) noexcept { return of(key); }
    static std::uint64_t hash(const Key& key) noexcept {
        const Numbers numbers = of(key);
        return numbers[0] ^ std::rotl(numbers[1], 32);
    }
    static bool matches(const Numbers& numbers, const Key& key) noexcept { return numbers == of(key); }
};

}  // namespace kombu::detail
