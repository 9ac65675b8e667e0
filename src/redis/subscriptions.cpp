// SPDX-License-Identifier: BSD-3-Clause
#include "redis/subscriptions.hpp"

#include <algorithm>
#include <utility>

namespace kombu::redis {

bool SubscriptionBuffer::push(std::string message) {
    bytes_ += message.size();
    messages_.push_back(std::move(message));
    const std::size_t before = messages_.size();
    while (messages_.size() > 1 && (messages_.size() > max_messages || bytes_ > max_bytes)) pop();
    return messages_.size() == before;
}

void SubscriptionBuffer::push_front(std::string message) {
    bytes_ += message.size();
    messages_.push_front(std::move(message));
}

std::string SubscriptionBuffer::pop() {
    std::string message = std::move(messages_.front());
    messages_.pop_front();
    bytes_ -= message.size();
    return message;
}

void SubscriptionBuffer::clear() noexcept {
    messages_.clear();
    bytes_ = 0;
}

bool Subscriptions::add(const std::string& pattern, SubscriptionBuffer& buffer) {
    std::vector<SubscriptionBuffer*>& buffers = buffers_[pattern];
    if (std::find(buffers.begin(), buffers.end(), &buffer) == buffers.end()) buffers.push_back(&buffer);
    return buffers.size() == 1;
}

std::vector<std::string> Subscriptions::remove(const SubscriptionBuffer& buffer) {
    std::vector<std::string> unused_patterns;
    for (auto at = buffers_.begin(); at != buffers_.end();) {
        std::erase(at->second, &buffer);
        if (at->second.empty()) {
            unused_patterns.push_back(at->first);
            at = buffers_.erase(at);
        } else {
            ++at;
        }
    }
    return unused_patterns;
}

bool Subscriptions::deliver(std::string_view pattern, const std::string& message) {
    const auto found = buffers_.find(pattern);
    if (found == buffers_.end()) return true;
    bool complete = true;
    for (SubscriptionBuffer* const buffer : found->second) complete = buffer->push(message) && complete;
    return complete;
}

}  // namespace kombu::redis
