// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/fifo.hpp"

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
        if (mandatory) mandatory_.insert(last_number_ + 1);
        window_.push_back(Outcome::pending);
        ++pending_count_;
        return ++last_number_;
    }

    /// Of the message that was published last; 0 before the first one.
    std::uint64_t last_number() const noexcept { return last_number_; }
    /// The number of unconfirmed messages.
    std::size_t pending_count() const noexcept { return pending_count_; }
    bool is_pending(std::uint64_t number) const noexcept {
        return number >= first_number() && number <= last_number_ &&
               window_[number - first_number()] == Outcome::pending;
    }

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
        const std::uint64_t last = multiple && number == 0 ? last_number_ : number;
        const std::uint64_t first = multiple ? first_number() : number;
        for (std::uint64_t n = std::max(first, first_number()); n <= last; ++n) {
            Outcome& outcome = window_[n - first_number()];
            if (outcome != Outcome::pending) continue;
            outcome = Outcome::confirmed;
            --pending_count_;
            if (!acknowledged) nacked_.insert(n);
        }
        while (!window_.empty() && window_.front() != Outcome::pending) window_.pop_front();
        if (!mandatory_.empty())
            mandatory_.erase(multiple ? mandatory_.begin() : mandatory_.lower_bound(number),
                             mandatory_.upper_bound(last));
        return true;
    }

    /// Returns the outcome of a message. A nack is forgotten once it has been reported.
    Outcome outcome(std::uint64_t number) {
        if (is_pending(number)) return Outcome::pending;
        return !nacked_.empty() && nacked_.erase(number) != 0 ? Outcome::nacked : Outcome::confirmed;
    }

private:
    /// Of the window.
    std::uint64_t first_number() const noexcept { return last_number_ + 1 - window_.size(); }

    std::uint64_t last_number_ = 0;
    Fifo<Outcome> window_{};  // from the first pending message on
    std::size_t pending_count_ = 0;
    std::set<std::uint64_t> nacked_{}, mandatory_{};
};

}  // namespace kombu::amqp
