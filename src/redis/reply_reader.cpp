// SPDX-License-Identifier: BSD-3-Clause
#include "redis/reply_reader.hpp"

#include "net/session_base.hpp"

#include <hiredis/read.h>

#include <charconv>
#include <new>
#include <string_view>

namespace kombu::redis {
namespace {

[[noreturn]] void protocol_error(const char* what) {
    throw net::InvalidInput(std::string{"invalid RESP data from the peer: "} + what);
}

}  // namespace

/// Builds the reply that hiredis reads. Objects of hiredis are pointers to replies within `root`: those of the arrays
/// that are still incomplete, which are the last elements of theirs, so that they do not move.
struct ReplyReader::Builder {
    Reply root{};
    std::size_t announced = 0;  // elements of the arrays in root
    const char* error = nullptr;

    /// Calls `fill` with the next element. Returns null, which makes hiredis stop, if it throws or there is an error.
    template <class Fill>
    static void* add(const redisReadTask* task, Fill fill) noexcept {
        auto& self = *static_cast<Builder*>(task->privdata);
        try {
            Reply& reply = task->parent ? static_cast<Reply*>(task->parent->obj)->elements.emplace_back() : self.root;
            if (!task->parent) {
                reply = {};
                self.announced = 0;
            }
            self.error = fill(self, reply);
            return self.error ? nullptr : &reply;
        } catch (const std::bad_alloc&) {
            self.error = "not enough memory for a reply";
            return nullptr;
        }
    }

    static void* add_text(const redisReadTask* task, char* text, std::size_t size) noexcept {
        return add(task, [&](Builder&, Reply& reply) -> const char* {
            const int type = task->type;
            if (type != REDIS_REPLY_STRING && type != REDIS_REPLY_STATUS && type != REDIS_REPLY_ERROR)
                return "a type of RESP 3";
            // hiredis 0.14 skips these two bytes.
            if (text[size] != '\r' || text[size + 1] != '\n') return "no CRLF after a bulk string";
            if (type != REDIS_REPLY_STRING && size >= max_line) return "a line has no end";
            if (type != REDIS_REPLY_STRING && std::string_view{text, size}.find('\n') != std::string_view::npos)
                return "a line does not end with CRLF";
            reply.type = type == REDIS_REPLY_STRING   ? Reply::Type::text
                         : type == REDIS_REPLY_STATUS ? Reply::Type::status
                                                      : Reply::Type::error;
            reply.text.assign(text, size);
            return nullptr;
        });
    }
    /// hiredis 0.14 counts in int, newer ones in std::size_t.
    template <class Count>
    static void* add_array(const redisReadTask* task, Count count) noexcept {
        return add(task, [&](Builder& self, Reply& reply) -> const char* {
            if (task->type != REDIS_REPLY_ARRAY) return "a type of RESP 3";
            std::size_t depth = 1;
            for (const redisReadTask* outer = task->parent; outer; outer = outer->parent) ++depth;
            if (depth > max_depth) return "a reply nests too deep";
            if (static_cast<std::size_t>(count) > max_elements - self.announced) return "reply too large";
            self.announced += static_cast<std::size_t>(count);
            reply.type = Reply::Type::array;
            return nullptr;
        });
    }
    static void* add_integer(const redisReadTask* task, long long value) noexcept {
        return add(task, [&](Builder&, Reply& reply) -> const char* {
            reply.type = Reply::Type::integer;
            reply.integer = value;
            return nullptr;
        });
    }
    static void* add_nil(const redisReadTask* task) noexcept {
        return add(task,
                   [&](Builder&, Reply&) { return task->type == REDIS_REPLY_NIL ? "a type of RESP 3" : nullptr; });
    }

    /// The types that only newer versions of hiredis read.
    template <class Functions>
    static void refuse_other_types(Functions& functions) noexcept {
        if constexpr (requires { functions.createDouble; })
            functions.createDouble = [](const redisReadTask* task, double, char*, std::size_t) { return refuse(task); };
        if constexpr (requires { functions.createBool; })
            functions.createBool = [](const redisReadTask* task, int) { return refuse(task); };
    }
    static void* refuse(const redisReadTask* task) noexcept {
        return add(task, [](Builder&, Reply&) { return "a type of RESP 3"; });
    }

    static redisReplyObjectFunctions make_functions() noexcept {
        redisReplyObjectFunctions functions{};
        functions.createString = add_text;
        functions.createArray = add_array;
        functions.createInteger = add_integer;
        functions.createNil = add_nil;
        refuse_other_types(functions);
        functions.freeObject = [](void*) {};
        return functions;
    }
};

void ReplyReader::Free::operator()(redisReader* reader) const noexcept { ::redisReaderFree(reader); }

ReplyReader::ReplyReader() : input_(new char[input_size]), builder_(std::make_unique<Builder>()) {
    static redisReplyObjectFunctions functions = Builder::make_functions();
    reader_.reset(::redisReaderCreateWithFunctions(&functions));
    if (!reader_) throw std::bad_alloc{};
    reader_->privdata = builder_.get();
}

ReplyReader::~ReplyReader() = default;

void ReplyReader::added(std::size_t count) {
    if (::redisReaderFeed(reader_.get(), input_.get(), count) != REDIS_OK)
        protocol_error("not enough memory for a reply");
}

Reply* ReplyReader::next() {
    void* reply = nullptr;
    if (::redisReaderGetReply(reader_.get(), &reply) != REDIS_OK)
        protocol_error(builder_->error ? builder_->error : reader_->errstr);
    if (reply) return &builder_->root;
    check_pending();
    return nullptr;
}

/// Checks what hiredis does not check until all of it has arrived: the length of a line and of a bulk string. Pending
/// input begins after the type of an element.
void ReplyReader::check_pending() const {
    const std::string_view pending{reader_->buf + reader_->pos, reader_->len - reader_->pos};
    const std::size_t end = pending.substr(0, max_line).find('\n');
    if (end == std::string_view::npos) {
        if (pending.size() >= max_line) protocol_error("a line has no end");
        return;
    }
    if (end == 0 || pending[end - 1] != '\r') protocol_error("a line does not end with CRLF");
    // A whole line is consumed, unless it announces a bulk string.
    std::size_t size = 0;
    const auto parsed = std::from_chars(pending.data(), pending.data() + end - 1, size);
    if (parsed.ec != std::errc{} || size > max_text) protocol_error("reply too large");
}

}  // namespace kombu::redis
