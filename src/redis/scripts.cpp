// SPDX-License-Identifier: BSD-3-Clause
#include "redis/scripts.hpp"

#include "net/tls_library.hpp"
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
local limit, wanted, aside, taken, size = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, {}, 0
local function record(item)
    local now = redis.pcall('TIME')
    if now.err and not ARGV[5] then return nil, now end
    local when = now.err and ARGV[5] or string.format('%d.%06d', now[1], now[2])
    local at = string.find(item, '"delivery_tag"', 1, true)
    local own = at and string.match(item, '^"delivery_tag": ?"?([^"\\,}]+)', at) or ''
    -- Another tag for each delivery: who has held the message before can no longer settle it.
    local tag, copy = own .. ':' .. when, 0
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
        return nil, stored
    end
    return tag
end
for list = 4, #KEYS do
    -- One command for all lists but the first: most queues have messages in that one only.
    if list == 5 and redis.pcall('EXISTS', unpack(KEYS, 5)) == 0 then break end
    local item = redis.call('LINDEX', KEYS[list], -1)
    while item do
        if #item <= limit then
            local tag, failed = '', nil
            if ARGV[1] == '1' then tag, failed = record(item) end
            if failed and #taken == 0 then return failed end
            if failed then return {aside, 1, unpack(taken)} end
            redis.call('RPOP', KEYS[list])
            taken[#taken + 1] = item
            taken[#taken + 1] = list - 4
            taken[#taken + 1] = tag
            size = size + #item
            if #taken == 3 * wanted or size > 1048576 then
                return {aside, redis.pcall('EXISTS', unpack(KEYS, 4)), unpack(taken)}
            end
        else
            redis.call('ZREM', KEYS[2], '')
            redis.call('LPUSH', KEYS[3], item)
            redis.call('RPOP', KEYS[list])
            aside = aside + 1
            if aside == 100 then return {aside, 1, unpack(taken)} end
        end
        item = redis.call('LINDEX', KEYS[list], -1)
    end
end
return {aside, 0, unpack(taken)}
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

const Script& renew_script() {
    static const auto* const script = new Script{R"lua(
local now, call = redis.pcall('TIME'), {KEYS[1], 'XX'}
local when = now.err and ARGV[1] or string.format('%d.%06d', now[1], now[2])
for i = 2, #ARGV do
    call[#call + 1] = when
    call[#call + 1] = ARGV[i]
end
return redis.call('ZADD', unpack(call))
)lua"};
    return *script;
}

const Script& due_script() {
    static const auto* const script = new Script{R"lua(
local now = redis.pcall('TIME')
local seconds = now.err and tonumber(ARGV[1]) or now[1] + now[2] / 1000000
local moved, next_due = 0, -1
for i = 1, #KEYS, 2 do
    local due = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', string.format('%.6f', seconds), 'LIMIT', 0, 100)
    for _, item in ipairs(due) do
        redis.call('LPUSH', KEYS[i + 1], item)
        redis.call('ZREM', KEYS[i], item)
        moved = moved + 1
    end
    local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    if first[2] then
        local left = math.max(0, math.ceil((tonumber(first[2]) - seconds) * 1000))
        if next_due < 0 or left < next_due then next_due = left end
    end
end
return {moved, next_due}
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
