#include "redis/subscriptions.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {

bool Inbox::put(std::string message) {
    bytes_ += message.size();
    messages_.push_back(std::move(message));
    const std::size_t before = messages_.size();
    while (messages_.size() > 1 && (messages_.size() > max_messages || bytes_ > max_bytes)) take();
    return messages_.size() == before;
}

void Inbox::put_back(std::string message) {
    bytes_ += message.size();
    messages_.push_front(std::move(message));
}

std::string Inbox::take() {
    std::string message = std::move(messages_.front());
    messages_.pop_front();
    bytes_ -= message.size();
    return message;
}

void Inbox::clear() noexcept {
    messages_.clear();
    bytes_ = 0;
}

bool Subscriptions::add(const std::string& pattern, Inbox& inbox) {
    std::vector<Inbox*>& listeners = listeners_[pattern];
    if (std::find(listeners.begin(), listeners.end(), &inbox) == listeners.end()) listeners.push_back(&inbox);
    return listeners.size() == 1;
}

std::vector<std::string> Subscriptions::remove(const Inbox& inbox) {
    std::vector<std::string> unheard;
    for (auto at = listeners_.begin(); at != listeners_.end();) {
        std::erase(at->second, &inbox);
        if (at->second.empty()) {
            unheard.push_back(at->first);
            at = listeners_.erase(at);
        } else {
            ++at;
        }
    }
    return unheard;
}

bool Subscriptions::deliver(std::string_view pattern, const std::string& message) {
    const auto found = listeners_.find(pattern);
    if (found == listeners_.end()) return true;
    bool all = true;
    for (Inbox* const inbox : found->second) all = inbox->put(message) && all;
    return all;
}

}  // namespace kombu::redis
