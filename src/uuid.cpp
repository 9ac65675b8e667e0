#include "uuid.hpp"

#include <kombu/detail/process.hpp>

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace kombu {
namespace {

constexpr std::size_t bytes_each = 16;

class RandomBytes {
public:
    const unsigned char* take() {
        if (next_ == bytes_.size() || epoch_ != detail::fork_epoch()) refill();
        const unsigned char* const taken = bytes_.data() + next_;
        next_ += bytes_each;
        return taken;
    }

private:
    void refill() {
        for (std::size_t have = 0; have < bytes_.size();) {
            const ssize_t count = ::getrandom(bytes_.data() + have, bytes_.size() - have, 0);
            if (count > 0)
                have += static_cast<std::size_t>(count);
            else if (errno != EINTR)
                throw std::system_error(errno, std::generic_category(), "getrandom");
        }
        next_ = 0;
        epoch_ = detail::fork_epoch();
    }

    std::array<unsigned char, 256 * bytes_each> bytes_{};
    std::size_t next_ = bytes_.size();
    std::uint32_t epoch_ = 0;
};

constexpr auto hex_pairs = [] {
    constexpr char digits[] = "0123456789abcdef";
    std::array<std::array<char, 2>, 256> pairs{};
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {digits[i >> 4], digits[i & 15]};
    return pairs;
}();

}  // namespace

void append_uuid(std::string& out) {
    thread_local RandomBytes random;
    const unsigned char* const bytes = random.take();
    char text[uuid_size];
    char* at = text;
    for (std::size_t i = 0; i < bytes_each; ++i) {
        unsigned char byte = bytes[i];
        if (i == 6) byte = static_cast<unsigned char>((byte & 0x0f) | 0x40);
        if (i == 8) byte = static_cast<unsigned char>((byte & 0x3f) | 0x80);
        if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
        *at++ = hex_pairs[byte][0];
        *at++ = hex_pairs[byte][1];
    }
    out.append(text, sizeof text);
}

}  // namespace kombu
