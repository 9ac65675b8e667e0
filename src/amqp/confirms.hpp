#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>

namespace kombu::amqp {

/// Which published messages of a channel the broker has not confirmed yet.
class Confirms {
public:
    enum class Outcome : std::uint8_t { pending, acknowledged, refused };

    /// The number of the message published next.
    std::uint64_t published(bool mandatory) {
        pending_.insert(++last_);
        if (mandatory) mandatory_.insert(last_);
        return last_;
    }

    /// How many are not settled.
    std::size_t pending() const noexcept { return pending_.size(); }

    /// Whose message came back before the confirmation that settles `number`: the first of those who asked for that and
    /// are settled with it, since messages come back in their order. 0: nobody's.
    std::uint64_t returned_to(std::uint64_t number, bool multiple) {
        const auto found = multiple ? mandatory_.begin() : mandatory_.find(number);
        if (found == mandatory_.end() || (*found > number && number != 0)) return 0;
        const std::uint64_t owner = *found;
        mandatory_.erase(found);
        return owner;
    }

    /// The broker's word. False for a message that was never published.
    bool settle(std::uint64_t number, bool multiple, bool acknowledged) {
        if (number > last_) return false;
        const auto end = pending_.upper_bound(multiple && number == 0 ? last_ : number);
        const auto begin = multiple ? pending_.begin() : pending_.lower_bound(number);
        if (!acknowledged) refused_.insert(begin, end);
        pending_.erase(begin, end);
        mandatory_.erase(multiple ? mandatory_.begin() : mandatory_.lower_bound(number),
                         mandatory_.upper_bound(multiple && number == 0 ? last_ : number));
        return true;
    }

    /// What became of a message; asked once it is settled, it is forgotten.
    Outcome outcome(std::uint64_t number) {
        if (pending_.contains(number)) return Outcome::pending;
        return refused_.erase(number) != 0 ? Outcome::refused : Outcome::acknowledged;
    }

private:
    std::uint64_t last_ = 0;
    std::set<std::uint64_t> pending_, refused_, mandatory_;
};

}  // namespace kombu::amqp
