// SPDX-License-Identifier: BSD-3-Clause
#include "redis/scripts.hpp"

#include "net/openssl.hpp"
#include "support/hex.hpp"

#include <openssl/evp.h>

#include <array>

// Redis does not roll back a script that fails. So each script adds a message to its new place before it removes it
// from the old one: an error in between leaves the message in both places, never in none.
namespace kombu::redis {

Script::Script(std::string_view lua) : text(lua) {
    net::initialise_openssl();
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
local limit, aside = tonumber(ARGV[3]), 0
local function record(item)
    local now = redis.pcall('TIME')
    if now.err and not ARGV[4] then return nil, nil, now end
    local when = now.err and ARGV[4] or string.format('%d.%06d', now[1], now[2])
    local at = string.find(item, '"delivery_tag"', 1, true)
    local own = at and string.match(item, '^"delivery_tag": ?"?([^"\\,}]+)', at) or when
    local tag, copy = own, 0
    local added = redis.pcall('ZADD', KEYS[2], 'NX', when, tag)
    if type(added) == 'table' then
        -- No effect. A server out of memory judges a script by its first write, and always allows ZREM.
        redis.call('ZREM', KEYS[2], '')
        added = redis.call('ZADD', KEYS[2], 'NX', when, tag)
    end
    while added == 0 do
        copy = copy + 1
        tag = own .. ':' .. when .. ':' .. copy
        added = redis.call('ZADD', KEYS[2], 'NX', when, tag)
    end
    local stored = redis.pcall('HSET', KEYS[1], tag, '[' .. item .. ARGV[2])
    if type(stored) == 'table' then
        redis.call('ZREM', KEYS[2], tag)
        return nil, nil, stored
    end
    return tag, when
end
for list = 4, #KEYS do
    -- One command for all lists but the first: most queues have messages in that one only.
    if list == 5 and redis.pcall('EXISTS', unpack(KEYS, 5)) == 0 then break end
    local item = redis.call('LINDEX', KEYS[list], -1)
    while item do
        if #item <= limit then
            local tag, when, failed = '', '', nil
            if ARGV[1] == '1' then tag, when, failed = record(item) end
            if failed then return failed end
            redis.call('RPOP', KEYS[list])
            return {aside, item, list - 4, tag, when, redis.pcall('EXISTS', unpack(KEYS, 4))}
        end
        redis.call('ZREM', KEYS[2], '')
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
if ARGV[2] ~= '' and tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '') ~= tonumber(ARGV[2]) then return 0 end
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
local now = redis.pcall('TIME')
local seconds = now.err and tonumber(ARGV[7]) or now[1] + now[2] / 1000000
local since = string.format('%.6f', seconds - tonumber(ARGV[3]))
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

const Script& access_script() {
    static const auto* const script = new Script{R"lua(
local missing = {}
if not redis.acl_check_cmd then return missing end
local commands = {'LINDEX -1', 'RPOP', 'LPUSH x', 'RPUSH x', 'HSET f x', 'HGET f', 'HDEL f', 'ZADD 0 x',
    'ZREM x', 'ZSCORE x', 'ZREVRANGEBYSCORE 0 -inf', 'SET x', 'GET', 'DEL'}
for _, text in ipairs(commands) do
    local words = {}
    for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
    table.insert(words, 2, ARGV[1])
    local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
    if not known or not allowed then missing[#missing + 1] = words[1] end
end
return missing
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
