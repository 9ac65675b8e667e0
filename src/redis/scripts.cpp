// SPDX-License-Identifier: BSD-3-Clause
#include "redis/scripts.hpp"
#include "support/hex.hpp"

#include <openssl/evp.h>

#include <array>

// Redis does not roll back a script that fails. So each script adds a message to its new place before it removes it
// from the old one: an error in between leaves the message in both places, never in none.
namespace kombu::redis {

Script::Script(std::string_view lua) : text(lua) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(lua.data(), lua.size(), digest.data(), &size, EVP_sha1(), nullptr);
    for (unsigned i = 0; i < size; ++i) {
        sha1 += hex_digit(digest[i] >> 4U);
        sha1 += hex_digit(digest[i]);
    }
}

const Script& receive_script() {
    static const auto* const script = new Script{R"lua(
local function tag_of(item)
    local ok, message = pcall(cjson.decode, item)
    if not ok or type(message) ~= 'table' or message.body == nil or message.body == cjson.null then return end
    local sent = message.properties
    if type(sent) ~= 'table' or type(sent.delivery_info) ~= 'table' then return end
    if type(sent.delivery_info.exchange) ~= 'string' or type(sent.delivery_info.routing_key) ~= 'string' then return end
    local tag = sent.delivery_tag
    if type(tag) == 'number' then return string.format(tag % 1 == 0 and '%.0f' or '%.14g', tag) end
    if type(tag) == 'string' and tag ~= '' then return tag end
end
local aside = 0
local limit = tonumber(ARGV[3])
for list = 4, #KEYS do
    local item = redis.call('LINDEX', KEYS[list], -1)
    while item do
        -- No effect. A server out of memory judges a script by its first write, and always allows ZREM.
        redis.call('ZREM', KEYS[2], '')
        local tag = #item <= limit and tag_of(item)
        if tag then
            local free, when = tag, ''
            if ARGV[1] == '1' then
                local now = redis.call('TIME')
                local copy = 0
                when = string.format('%d.%06d', now[1], now[2])
                while redis.call('HEXISTS', KEYS[1], free) == 1 do
                    copy = copy + 1
                    free = tag .. ':' .. when .. ':' .. copy
                end
                redis.call('ZADD', KEYS[2], when, free)
                redis.call('HSET', KEYS[1], free, '[' .. item .. ARGV[2])
                when = redis.call('ZSCORE', KEYS[2], free)
            end
            redis.call('RPOP', KEYS[list])
            return {aside, item, list - 4, free, when}
        end
        redis.call('LPUSH', KEYS[3], item)
        redis.call('RPOP', KEYS[list])
        aside = aside + 1
        if aside == 100 then return {aside} end
        item = redis.call('LINDEX', KEYS[list], -1)
    end
end
return {aside}
)lua"};
    return *script;
}

const Script& requeue_script() {
    static const auto* const script = new Script{R"lua(
if ARGV[2] ~= '' and redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 0
end
local parts, from = {}, tonumber(ARGV[3])
for i = 5, #ARGV, 2 do
    local at = tonumber(ARGV[i])
    parts[#parts + 1] = string.sub(record, from, at)
    parts[#parts + 1] = ARGV[i + 1]
    from = at + 1
end
parts[#parts + 1] = string.sub(record, from, tonumber(ARGV[4]))
local message = table.concat(parts)
redis.call('ZREM', KEYS[2], '')
for i = 3, #KEYS do redis.call('RPUSH', KEYS[i], message) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
)lua"};
    return *script;
}

const Script& expired_script() {
    static const auto* const script = new Script{R"lua(
if ARGV[5] == '1' then
    if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
elseif redis.call('GET', KEYS[3]) ~= ARGV[1] then
    return false
end
local now = redis.call('TIME')
local since = string.format('%.6f', now[1] + now[2] / 1000000 - tonumber(ARGV[3]))
local held = redis.call('ZREVRANGEBYSCORE', KEYS[2], since, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local found, size = {}, 0
for i = 1, #held, 2 do
    local record = redis.call('HGET', KEYS[1], held[i])
    if record then
        size = size + #record
        if size > tonumber(ARGV[6]) and #found > 0 then break end
        found[#found + 1] = held[i]
        found[#found + 1] = held[i + 1]
        found[#found + 1] = record
    else
        redis.call('ZREM', KEYS[2], held[i])
    end
end
if #found == 0 then redis.call('DEL', KEYS[3]) end
return found
)lua"};
    return *script;
}

const Script& purge_script() {
    static const auto* const script = new Script{R"lua(
local count = 0
for i = 1, #KEYS do
    count = count + redis.call('LLEN', KEYS[i])
    redis.call('DEL', KEYS[i])
end
return count
)lua"};
    return *script;
}

const Script& unlock_script() {
    static const auto* const script = new Script{R"lua(
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
)lua"};
    return *script;
}

}  // namespace kombu::redis
