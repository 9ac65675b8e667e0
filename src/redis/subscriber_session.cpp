// SPDX-License-Identifier: BSD-3-Clause
#include "redis/subscriber_session.hpp"

#include <kombu/log.hpp>

namespace kombu::redis {

void SubscriberSession::on_reply(Reply&& reply) {
    const auto& elements = reply.elements;
    const std::string_view kind = elements.empty() ? std::string_view{} : elements[0].text;
    if (kind == "pmessage" && elements.size() == 4) {
        if (!subscriptions_.deliver(elements[1].text, elements[3].text))
            log(LogLevel::warning,
                peer() + ": messages of a fanout exchange were dropped: the buffer of a slow consumer is full");
    } else if (kind == "message" && elements.size() == 3 && elements[1].text == notice_channel) {
        // Nil: all keys, after FLUSHALL.
        if (elements[2].is(Reply::Type::nil))
            for (auto& [key, changed] : changed_keys_) changed = true;
        for (const Reply& key : elements[2].elements)
            if (const auto found = changed_keys_.find(key.text); found != changed_keys_.end()) found->second = true;
    } else if (kind != "message" && kind != "pmessage") {
        Session::on_reply(std::move(reply));
    }
}

void SubscriberSession::announce(const std::string& channel) {
    if (announcements_[channel]++ != 0) return;
    send({"SUBSCRIBE", channel});
    ignore_reply();
}

void SubscriberSession::withdraw(const std::string& channel) {
    const auto found = announcements_.find(channel);
    if (found == announcements_.end() || --found->second != 0) return;
    announcements_.erase(found);
    send({"UNSUBSCRIBE", channel});
    ignore_reply();
}

}  // namespace kombu::redis
