// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>

namespace kombu::amqp {

/// Tracks the published messages of a channel that the broker has not confirmed yet.
class Confirms {
public:
    enum class Outcome : std::uint8_t { pending, confirmed, nacked };

    /// Records a published message as unconfirmed. Returns its sequence number.
    std::uint64_t on_published(bool mandatory) {
        pending_.insert(++last_number_);
        if (mandatory) mandatory_.insert(last_number_);
        return last_number_;
    }

    /// The number of unconfirmed messages.
    std::size_t pending_count() const noexcept { return pending_.size(); }

    /// Finds and forgets the message that was returned just before the confirmation of `number`: the first mandatory
    /// message that the confirmation covers, since messages are returned in order. Returns 0 when there is none.
    std::uint64_t match_returned(std::uint64_t number, bool multiple) {
        const auto found = multiple ? mandatory_.begin() : mandatory_.find(number);
        if (found == mandatory_.end() || (*found > number && number != 0)) return 0;
        const std::uint64_t returned_number = *found;
        mandatory_.erase(found);
        return returned_number;
    }

    /// Records the broker's ack or nack. Returns false for a message that was never published.
    bool on_confirm(std::uint64_t number, bool multiple, bool acknowledged) {
        if (number > last_number_) return false;
        const auto end = pending_.upper_bound(multiple && number == 0 ? last_number_ : number);
        const auto begin = multiple ? pending_.begin() : pending_.lower_bound(number);
        if (!acknowledged) nacked_.insert(begin, end);
        pending_.erase(begin, end);
        mandatory_.erase(multiple ? mandatory_.begin() : mandatory_.lower_bound(number),
                         mandatory_.upper_bound(multiple && number == 0 ? last_number_ : number));
        return true;
    }

    /// Returns the outcome of a message. A nack is forgotten once it has been reported.
    Outcome outcome(std::uint64_t number) {
        if (pending_.contains(number)) return Outcome::pending;
        return nacked_.erase(number) != 0 ? Outcome::nacked : Outcome::confirmed;
    }

private:
    std::uint64_t last_number_ = 0;
    std::set<std::uint64_t> pending_, nacked_, mandatory_;
};

}  // namespace kombu::amqp
