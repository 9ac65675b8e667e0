// SPDX-License-Identifier: BSD-3-Clause
#include "support/uuid.hpp"

#include "support/hex.hpp"

#include <kombu/detail/process.hpp>

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <system_error>

namespace kombu {
namespace {

constexpr std::size_t uuid_bytes = 16;

class RandomBytes {
public:
    const unsigned char* next_block() {
        if (next_ == bytes_.size() || epoch_ != detail::fork_epoch()) refill();
        const unsigned char* const block = bytes_.data() + next_;
        next_ += uuid_bytes;
        return block;
    }

private:
    void refill() {
        detail::install_fork_handler();
        for (std::size_t filled = 0; filled < bytes_.size();) {
            const ssize_t count = ::getrandom(bytes_.data() + filled, bytes_.size() - filled, 0);
            if (count > 0)
                filled += static_cast<std::size_t>(count);
            else if (errno != EINTR)
                throw std::system_error(errno, std::generic_category(), "getrandom");
        }
        next_ = 0;
        epoch_ = detail::fork_epoch();
    }

    std::array<unsigned char, 256 * uuid_bytes> bytes_{};
    std::size_t next_ = bytes_.size();
    std::uint32_t epoch_ = 0;
};

constexpr auto hex_pairs = [] {
    std::array<std::array<char, 2>, 256> pairs{};
    for (std::uint32_t byte = 0; byte < pairs.size(); ++byte) pairs[byte] = {hex_digit(byte >> 4U), hex_digit(byte)};
    return pairs;
}();

}  // namespace

void write_uuid(char* to) {
    // On the heap: thread-local variables of a library that is loaded at run time must be small.
    thread_local const auto random_bytes = std::make_unique<RandomBytes>();
    RandomBytes& random = *random_bytes;
    std::array<unsigned char, uuid_bytes> bytes;
    std::memcpy(bytes.data(), random.next_block(), bytes.size());
    bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
    bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
    std::array<char, 2 * uuid_bytes> digits;
    for (std::size_t i = 0; i < bytes.size(); ++i) std::memcpy(digits.data() + 2 * i, hex_pairs[bytes[i]].data(), 2);
    std::memcpy(to, digits.data(), 8);
    std::memcpy(to + 9, digits.data() + 8, 4);
    std::memcpy(to + 14, digits.data() + 12, 4);
    std::memcpy(to + 19, digits.data() + 16, 4);
    std::memcpy(to + 24, digits.data() + 20, 12);
    to[8] = to[13] = to[18] = to[23] = '-';
}

}  // namespace kombu
