#pragma once

#include <algorithm>
#include <cstdint>
#include <set>

namespace kombu::amqp {

/// Which published messages of a channel the broker has not confirmed yet.
class Confirms {
public:
    enum class Outcome : std::uint8_t { pending, acknowledged, refused };

    /// The number of the message published next.
    std::uint64_t published() {
        pending_.insert(++last_);
        return last_;
    }

    /// The broker's word. False for a message that was never published.
    bool settle(std::uint64_t number, bool multiple, bool acknowledged) {
        if (number > last_) return false;
        const auto end = pending_.upper_bound(multiple && number == 0 ? last_ : number);
        const auto begin = multiple ? pending_.begin() : pending_.lower_bound(number);
        if (!acknowledged) refused_.insert(begin, end);
        pending_.erase(begin, end);
        return true;
    }

    /// What became of a message; asked once it is settled, it is forgotten.
    Outcome outcome(std::uint64_t number) {
        if (pending_.contains(number)) return Outcome::pending;
        return refused_.erase(number) != 0 ? Outcome::refused : Outcome::acknowledged;
    }

private:
    std::uint64_t last_ = 0;
    std::set<std::uint64_t> pending_, refused_;
};

}  // namespace kombu::amqp
