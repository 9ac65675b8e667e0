// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/fifo.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>

namespace kombu::amqp {

/// Tracks the published messages of a channel that the broker has not confirmed yet.
class Confirms {
public:
    enum class Outcome : std::uint8_t { pending, confirmed, nacked };
    /// Hashes of a message: of its exchange, routing key and body, and of its properties as they are sent.
    struct Fingerprint {
        Fingerprint(std::string_view exchange, std::string_view routing_key, std::string_view body,
                    std::string_view encoded_properties) {
            const std::hash<std::string_view> hash;
            contents = (hash(exchange) * 31 + hash(routing_key)) * 31 + hash(body);
            properties = hash(encoded_properties);
        }
        std::size_t contents = 0, properties = 0;

        friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
    };

    /// Records a published message as unconfirmed. Returns its sequence number.
    /// `fingerprint`: of a mandatory message, which the broker may return.
    std::uint64_t on_published(std::optional<Fingerprint> fingerprint = {}) {
        if (fingerprint) mandatory_.emplace_hint(mandatory_.end(), last_number_ + 1, *fingerprint);
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

    /// Finds and forgets the message that the broker has returned. A return carries no number. Messages are returned in
    /// the order of publishing, each before its confirmation, but one confirmation may cover others that were routed.
    /// Should the broker have changed the properties, the rest decides; else it is the first that may be returned.
    /// Returns 0 when there is none.
    std::uint64_t match_returned(const Fingerprint& fingerprint) {
        if (mandatory_.empty()) return 0;
        auto first = mandatory_.upper_bound(last_returned_);
        if (first == mandatory_.end()) first = mandatory_.begin();
        const auto find = [&](auto is_equal) { return std::find_if(first, mandatory_.end(), is_equal); };
        auto found = find([&](const auto& message) { return message.second == fingerprint; });
        if (found == mandatory_.end())
            found = find([&](const auto& message) { return message.second.contents == fingerprint.contents; });
        if (found == mandatory_.end()) found = first;
        last_returned_ = found->first;
        mandatory_.erase(found);
        return last_returned_;
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
    std::uint64_t last_returned_ = 0;
    Fifo<Outcome> window_{};  // from the first pending message on
    std::size_t pending_count_ = 0;
    std::set<std::uint64_t> nacked_{};
    std::map<std::uint64_t, Fingerprint> mandatory_{};  // that are not confirmed, and were not returned
};

}  // namespace kombu::amqp
