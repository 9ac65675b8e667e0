// SPDX-License-Identifier: BSD-3-Clause
#include "memory/dead_letter.hpp"

#include <kombu/field.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace kombu::memory {
namespace {

const char* name_of(DeathReason reason) noexcept {
    switch (reason) {
        case DeathReason::rejected: return "rejected";
        case DeathReason::expired: return "expired";
        case DeathReason::maxlen: return "maxlen";
        case DeathReason::delivery_limit: break;
    }
    return "delivery_limit";
}

/// A client may have sent any header of that name.
bool has(const Json& death, const char* name, std::string_view value) {
    if (!death.is_object()) return false;
    const auto found = death.find(name);
    return found != death.end() && found->is_string() && found->get_ref<const std::string&>() == value;
}

/// The entry of this queue and reason comes first, with its count.
void count_death(Json& deaths, Json entry) {
    if (!deaths.is_array()) deaths = Json::array();
    auto& list = deaths.get_ref<Json::array_t&>();
    const auto known = std::ranges::find_if(list, [&](const Json& death) {
        return has(death, "queue", entry["queue"].get_ref<const std::string&>()) &&
               has(death, "reason", entry["reason"].get_ref<const std::string&>());
    });
    if (known != list.end()) {
        entry = std::move(*known);
        list.erase(known);
        const auto count = entry.find("count");
        entry["count"] = count != entry.end() && count->is_number_integer() ? count->get<std::int64_t>() + 1 : 1;
    }
    list.insert(list.begin(), std::move(entry));
}

}  // namespace

std::shared_ptr<const OutgoingMessage> make_dead_letter(const DeadMessage& dead, std::string_view queue,
                                                        const QueuePolicy& policy) {
    const OutgoingMessage& content = *dead.message.content;
    auto metadata = std::make_shared<MessageMetadata>(*content.metadata);
    Json& headers = metadata->properties.headers;
    if (!headers.is_object()) headers = Json::object();
    Json entry{{"count", 1},
               {"reason", name_of(dead.reason)},
               {"queue", std::string{queue}},
               {"time", Timestamp{std::chrono::system_clock::now()}},
               {"exchange", metadata->exchange},
               {"routing-keys", Json::array({metadata->routing_key})}};
    if (metadata->properties.expiration) entry["original-expiration"] = *metadata->properties.expiration;
    if (!headers.contains("x-death")) {
        headers["x-first-death-reason"] = name_of(dead.reason);
        headers["x-first-death-queue"] = std::string{queue};
        headers["x-first-death-exchange"] = metadata->exchange;
    }
    count_death(headers["x-death"], std::move(entry));
    metadata->properties.expiration.reset();
    metadata->mandatory = false;
    metadata->exchange = policy.dead_letter_exchange.value_or(std::string{});
    if (policy.dead_letter_routing_key) metadata->routing_key = *policy.dead_letter_routing_key;
    return std::make_shared<const OutgoingMessage>(OutgoingMessage{std::move(metadata), content.body});
}

bool is_cycle(const OutgoingMessage& letter, std::string_view queue, DeathReason reason) {
    if (reason == DeathReason::rejected) return false;
    const Json& headers = letter.metadata->properties.headers;
    const auto deaths = headers.find("x-death");
    if (deaths == headers.end() || !deaths->is_array()) return false;
    for (const Json& death : *deaths) {
        if (has(death, "reason", "rejected")) return false;
        if (has(death, "queue", queue)) return true;
    }
    return false;
}

}  // namespace kombu::memory
