// SPDX-License-Identifier: BSD-3-Clause
#include "messages/same_value.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>

namespace kombu {
namespace {

bool is_negative(const Json& integer) {
    return integer.type() == Json::value_t::number_integer && integer.get<std::int64_t>() < 0;
}

}  // namespace

bool same_value(const Json& a, const Json& b) {
    if (a.is_number_integer() && b.is_number_integer())  // signed or not
        return is_negative(a) == is_negative(b) && a.get<std::uint64_t>() == b.get<std::uint64_t>();
    if (a.type() != b.type()) return false;
    switch (a.type()) {
        case Json::value_t::number_float:
            return std::bit_cast<std::uint64_t>(a.get<double>()) == std::bit_cast<std::uint64_t>(b.get<double>());
        case Json::value_t::object:
            return std::ranges::equal(a.get_ref<const Json::object_t&>(), b.get_ref<const Json::object_t&>(),
                                      [](const auto& left, const auto& right) {
                                          return left.first == right.first && same_value(left.second, right.second);
                                      });
        case Json::value_t::array:
            return std::ranges::equal(a.get_ref<const Json::array_t&>(), b.get_ref<const Json::array_t&>(), same_value);
        default: return a == b;
    }
}

}  // namespace kombu
