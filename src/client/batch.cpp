#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/error.hpp>

#include "client/connection_state.hpp"
#include "client/prepared_message.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kombu {

struct Batch::Messages {
    detail::ConnectionRef connection;
    ProducerOptions options;
    // Beside each other: transports take the messages as they lie here.
    std::vector<OutgoingMessage> outgoing{};
    struct Wish {
        std::vector<Entity> declare{};
        std::optional<RetryPolicy> retry_policy{};
    };
    std::vector<Wish> wishes{};

    /// Drops those that have no error.
    void keep(const std::vector<std::exception_ptr>& errors) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < errors.size(); ++i) {
            if (!errors[i]) continue;
            if (kept != i) {
                outgoing[kept] = std::move(outgoing[i]);
                wishes[kept] = std::move(wishes[i]);
            }
            ++kept;
        }
        outgoing.resize(kept);
        wishes.resize(kept);
    }
};

namespace {

/// What became of each message.
using Results = std::vector<std::exception_ptr>;
/// What is to be declared for each.
using Wishes = std::vector<const std::vector<Entity>*>;

bool is_retryable(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& known) {
        return known.is_retryable();
    } catch (...) {
        return false;
    }
}

bool is_refusal(const std::exception_ptr& error) {
    if (!error) return false;
    try {
        std::rethrow_exception(error);
    } catch (const ChannelError&) {
        return true;
    } catch (...) {
        return false;
    }
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& known) {
        return known.what();
    } catch (...) {
        return "unknown";
    }
}

[[noreturn]] void report(const Results& results) {
    std::vector<BatchError::Failure> failures;
    bool retryable = true;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (!results[i]) continue;
        failures.push_back({i, results[i]});
        retryable = retryable && is_retryable(results[i]);
    }
    const std::string what = std::to_string(failures.size()) + " of " + std::to_string(results.size()) +
                             " messages were not confirmed; the first of them, at " +
                             std::to_string(failures.front().index) + ": " + text_of(failures.front().error);
    throw BatchError(what, std::move(failures), retryable);
}

}  // namespace

Batch::Batch(detail::ConnectionRef connection, ProducerOptions options)
    : messages_(new Messages{std::move(connection), std::move(options)}) {}
Batch::Batch(Batch&&) noexcept = default;
Batch& Batch::operator=(Batch&&) noexcept = default;
Batch::~Batch() = default;

template <class Body>
void Batch::add(const Body& body, const PublishOptions& options) {
    if (!messages_) throw LeaseError("the batch was moved from");
    Messages& messages = *messages_;
    PreparedMessage message =
        prepare(encode(body, options, messages.options), options, messages.options, messages.connection.checked());
    messages.wishes.push_back({std::move(message.declare), message.retry_policy});
    try {
        messages.outgoing.push_back(std::move(message.outgoing));
    } catch (...) {
        messages.wishes.pop_back();
        throw;
    }
}

void Batch::add_json(const Json& body, const PublishOptions& options) { add(body, options); }
void Batch::add_text(std::string_view body, const PublishOptions& options) { add(body, options); }
void Batch::add_bytes(std::span<const std::byte> body, const PublishOptions& options) { add(body, options); }

std::size_t Batch::size() const noexcept { return messages_ ? messages_->outgoing.size() : 0; }

void Batch::clear() noexcept {
    if (!messages_) return;
    messages_->outgoing.clear();
    messages_->wishes.clear();
}

void Batch::commit(OptionalTimeout timeout) { net::run(async::Operations::commit(*this, timeout)); }

namespace {

/// Sends those of the messages that have no error, and says what became of each.
async::Operation<Results> attempt(detail::ConnectionState& connection, std::span<const OutgoingMessage> messages,
                                  const Wishes& declare, Deadline deadline) {
    Results results(messages.size());
    std::exception_ptr broken;
    try {
        std::shared_ptr<TransportChannel> channel = co_await connection.default_channel(deadline);
        bool refused = false;
        for (std::size_t i = 0; i < messages.size(); ++i) {
            for (const Entity& entity : *declare[i]) {
                if (is_declared(connection, entity)) continue;
                try {
                    if (!channel->is_open()) channel = co_await connection.default_channel(deadline);
                    co_await declare_and_remember(connection, *channel, entity, deadline);
                } catch (const ChannelError&) {
                    results[i] = std::current_exception();
                    refused = true;
                }
                if (results[i]) break;
            }
        }
        if (!channel->is_open()) channel = co_await connection.default_channel(deadline);
        if (!refused) {
            results = co_await channel->basic_publish_all(messages, deadline, {});
            if (std::any_of(results.begin(), results.end(), is_refusal)) connection.forget_declarations();
            co_return results;
        }
        std::vector<OutgoingMessage> others;
        for (std::size_t i = 0; i < messages.size(); ++i)
            if (!results[i]) others.push_back(messages[i]);
        const Results rest = co_await channel->basic_publish_all(others, deadline, {});
        for (std::size_t i = 0, at = 0; i < messages.size(); ++i)
            if (!results[i]) results[i] = rest[at++];
    } catch (const OperationalError&) {
        broken = std::current_exception();
    }
    if (broken)
        for (std::exception_ptr& result : results)
            if (!result) result = broken;
    // What is thought to be declared may be what was refused.
    if (std::any_of(results.begin(), results.end(), is_refusal)) connection.forget_declarations();
    co_return results;
}

}  // namespace

async::Operation<> async::Operations::commit(Batch& batch, OptionalTimeout timeout) {
    if (!batch.messages_) throw LeaseError("the batch was moved from");
    Batch::Messages& messages = *batch.messages_;
    kombu::detail::ConnectionState& connection = messages.connection.checked();
    const kombu::detail::ConnectionState::Use use{connection};
    const Deadline deadline = connection.deadline(timeout);
    if (messages.outgoing.empty()) co_return;

    Wishes declare;
    for (const Batch::Messages::Wish& wish : messages.wishes) declare.push_back(&wish.declare);
    Results results = co_await attempt(connection, messages.outgoing, declare, deadline);
    std::optional<Backoff> backoff;
    for (;;) {
        std::vector<std::size_t> again;
        std::vector<OutgoingMessage> some;
        declare.clear();
        for (std::size_t i = 0; i < results.size(); ++i) {
            if (!results[i] || !messages.wishes[i].retry_policy || !is_retryable(results[i])) continue;
            if (!backoff) backoff.emplace(*messages.wishes[i].retry_policy, deadline);
            again.push_back(i);
            some.push_back(messages.outgoing[i]);
            declare.push_back(&messages.wishes[i].declare);
        }
        const auto pause = again.empty() ? std::nullopt : backoff->next();
        if (!pause) break;
        for (const Deadline next = Deadline::after(*pause); !next.expired();) co_await async::Wait{.until = next};
        const Results now = co_await attempt(connection, some, declare, deadline);
        for (std::size_t i = 0; i < again.size(); ++i) results[again[i]] = now[i];
    }
    messages.keep(results);
    if (!messages.outgoing.empty()) report(results);
}

}  // namespace kombu
