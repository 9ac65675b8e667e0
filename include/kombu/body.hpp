// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/json.hpp>

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>

/// What the body of a message may be, beside Json.
namespace kombu {

namespace detail {

template <class T>
concept ByteSized = sizeof(T) == 1 && (std::integral<T> || std::same_as<T, std::byte>)&&!std::same_as<T, bool>;

template <class T>
concept ByteRange =
    std::ranges::input_range<const T&> && ByteSized<std::remove_cv_t<std::ranges::range_value_t<const T&>>>;

template <class T>
concept Utf8Text = std::convertible_to<const T&, std::u8string_view>;

}  // namespace detail

/// Text in any form. A Json value that is a string counts as JSON, and so does nullptr.
template <class T>
concept TextBody = (std::convertible_to<const T&, std::string_view> || detail::Utf8Text<T>)&&!std::same_as<T, Json> &&
                   !std::same_as<T, std::nullptr_t>;

/// A contiguous container, or an array, of bytes: of std::byte, unsigned char, and whatever else has 8 bits.
template <class T>
concept BytesBody =
    !TextBody<T> &&
    ((detail::ByteRange<T> && std::ranges::contiguous_range<const T&> && std::ranges::sized_range<const T&>) ||
     std::convertible_to<const T&, std::span<const std::byte>>);

/// Bytes that are not contiguous. They are refused: as JSON they would be an array of numbers.
template <class T>
concept ScatteredBytes = !TextBody<T> && detail::ByteRange<T> && !BytesBody<T>;

namespace detail {

template <TextBody Text>
std::string_view text_of(const Text& body) {
    if constexpr (Utf8Text<Text>) {
        const std::u8string_view text{body};
        return {reinterpret_cast<const char*>(text.data()), text.size()};
    } else {
        return std::string_view{body};
    }
}

template <BytesBody Bytes>
std::span<const std::byte> bytes_of(const Bytes& body) {
    if constexpr (std::convertible_to<const Bytes&, std::span<const std::byte>>)
        return body;
    else
        return std::as_bytes(std::span{std::ranges::data(body), std::ranges::size(body)});
}

/// The first member of options: it allows no others before it, so that all are set by name.
struct SetByName {
    explicit SetByName() = default;
};

}  // namespace detail
}  // namespace kombu
