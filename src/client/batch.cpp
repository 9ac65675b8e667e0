// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/async.hpp>
#include <kombu/batch.hpp>
#include <kombu/error.hpp>

#include "client/connection_state.hpp"
#include "client/message_builder.hpp"
#include "net/blocking_driver.hpp"
#include "transport/backoff.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <memory_resource>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kombu {

struct Batch::Messages {
    /// What some messages need, beside being sent.
    struct Requirements {
        std::vector<Entity> declare{};
        std::optional<RetryPolicy> retry_policy{};

        static Requirements of(const PublishOptions& publish, const ProducerOptions& producer) {
            return {entities_to_declare(publish, producer),
                    publish.retry ? std::optional{publish.retry_policy} : std::nullopt};
        }
        /// Whether they can stand for those of another message. The comparison of queues ignores their callbacks.
        bool are_those_of(const PublishOptions& publish, const ProducerOptions& producer) const {
            if (publish.retry ? retry_policy != publish.retry_policy : retry_policy.has_value()) return false;
            std::span<const Entity> rest{declare};
            if (const Exchange* const exchange = exchange_to_declare(publish, producer)) {
                if (rest.empty() || rest.front() != Entity{*exchange}) return false;
                rest = rest.subspan(1);
            }
            return std::ranges::equal(rest, publish.declare) && std::ranges::none_of(declare, has_callback) &&
                   std::ranges::none_of(publish.declare, has_callback);
        }

    private:
        static bool has_callback(const Entity& entity) {
            const Queue* const queue = std::get_if<Queue>(&entity);
            return queue && queue->options().on_declared;
        }
    };

    Messages(detail::ConnectionRef to, ProducerOptions producer)
        : connection(std::move(to)), options(std::move(producer)) {}

    detail::ConnectionRef connection;
    ProducerOptions options;
    // Contiguous, since transports take a span of messages.
    std::vector<OutgoingMessage> outgoing{};
    /// Neighbours share theirs. Each message has an index.
    std::vector<Requirements> requirements{};
    std::vector<std::size_t> requirements_of{};
    bool is_in_commit = false;

    /// During a commit, which refers to the messages, none may be added or removed.
    class CommitScope {
    public:
        explicit CommitScope(Messages& messages) noexcept : messages_(messages) { messages_.is_in_commit = true; }
        CommitScope(const CommitScope&) = delete;
        CommitScope& operator=(const CommitScope&) = delete;
        ~CommitScope() { messages_.is_in_commit = false; }

    private:
        Messages& messages_;
    };

    /// A copy whose body is in memory that many share: an allocation for each small body would be a large part of the
    /// work.
    OutgoingMessage with_shared_body(const OutgoingMessage& message) {
        const std::string_view body = message.body;
        auto* const copy = static_cast<char*>(bodies_.allocate(body.size(), 1));
        return {message.metadata, OutgoingBody::view({copy, body.copy(copy, body.size())})};
    }
    void add(OutgoingMessage message, const PublishOptions& publish) {
        if (requirements.empty() || !requirements.back().are_those_of(publish, options))
            requirements.push_back(Requirements::of(publish, options));
        outgoing.push_back(std::move(message));
        try {
            requirements_of.push_back(requirements.size() - 1);
        } catch (...) {
            outgoing.pop_back();
            throw;
        }
    }
    void clear() noexcept {
        outgoing.clear();
        requirements.clear();
        requirements_of.clear();
        bodies_.release();
    }
    /// Removes the messages that have no error.
    void retain_failed(const std::vector<std::exception_ptr>& errors) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < errors.size(); ++i) {
            if (!errors[i]) continue;
            if (kept != i) {
                outgoing[kept] = std::move(outgoing[i]);
                requirements_of[kept] = requirements_of[i];
            }
            ++kept;
        }
        if (kept == 0) return clear();
        outgoing.resize(kept);
        requirements_of.resize(kept);
        drop_unused_requirements();
        release_shared_bodies();
    }

    static constexpr std::size_t largest_shared_body = std::size_t{16} << 10;

private:
    void drop_unused_requirements() noexcept {
        std::size_t kept = 0, last = requirements.size();
        for (std::size_t& index : requirements_of) {  // ascending
            if (index != last) {
                last = index;
                if (kept != last) requirements[kept] = std::move(requirements[last]);
                ++kept;
            }
            index = kept - 1;
        }
        requirements.erase(requirements.begin() + static_cast<std::ptrdiff_t>(kept), requirements.end());
    }
    /// A batch that always keeps some messages must not keep the bodies of all.
    void release_shared_bodies() noexcept {
        try {
            for (OutgoingMessage& message : outgoing)
                if (message.body.size() <= largest_shared_body)
                    message.body = std::string{std::string_view{message.body}};
            bodies_.release();
        } catch (const std::bad_alloc&) {  // the next commit tries again
        }
    }

    std::pmr::monotonic_buffer_resource bodies_{std::size_t{16} << 10};
};

namespace {

/// The outcome of each message: null when it was confirmed, else its error.
using Results = std::vector<std::exception_ptr>;

bool is_retryable(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& kombu_error) {
        return kombu_error.is_retryable();
    } catch (...) {
        return false;
    }
}

template <class E>
bool is_a(const std::exception_ptr& error) {
    if (!error) return false;
    try {
        std::rethrow_exception(error);
    } catch (const E&) {
        return true;
    } catch (...) {
        return false;
    }
}

/// As after the publish of a single message.
void react_to_refusals(detail::ConnectionState& connection, const Results& results) {
    // The refused entity may be one that is remembered as declared.
    if (std::ranges::any_of(results, is_a<ChannelError>)) connection.forget_declarations();
    if (std::ranges::any_of(results, is_a<Nacked>)) connection.on_nacked();
}

void count(detail::ConnectionState& connection, std::span<const OutgoingMessage> messages, const Results& results) {
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (!results[i]) {
            connection.count_published(messages[i].body.size());
            continue;
        }
        try {
            std::rethrow_exception(results[i]);
        } catch (const std::exception& error) {
            connection.counters().not_published(error);
        } catch (...) {  // of a callback
        }
    }
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& exception) {
        return exception.what();
    } catch (...) {
        return "unknown";
    }
}

/// `attempts`: what was tried in vain, or empty.
[[noreturn]] void throw_batch_error(const Results& results, const std::string& attempts) {
    std::vector<BatchError::Failure> failures;
    bool retryable = true;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (!results[i]) continue;
        failures.push_back({i, results[i]});
        retryable = retryable && is_retryable(results[i]);
    }
    const std::string what = std::to_string(failures.size()) + " of " + std::to_string(results.size()) +
                             " messages were not confirmed; the first of them, at " +
                             std::to_string(failures.front().index) + ": " + text_of(failures.front().error) + attempts;
    throw BatchError(what, std::move(failures), retryable);
}

}  // namespace

Batch::Batch(detail::ConnectionRef connection, ProducerOptions options)
    : messages_(std::make_unique<Messages>(std::move(connection), std::move(options))) {}
Batch::Batch(Batch&&) noexcept = default;
Batch& Batch::operator=(Batch&&) noexcept = default;
Batch::~Batch() = default;

template <class Body>
void Batch::add(const Body& body, const PublishOptions& options) {
    if (!messages_) throw LeaseError("the batch was moved from");
    Messages& messages = *messages_;
    if (messages.is_in_commit) throw LeaseError("the batch is being committed");
    detail::ConnectionState& connection = messages.connection.checked();
    const MessageBuilder::Use builder{connection.message_builder()};
    const OutgoingMessage& message =
        builder->build(body, {options, messages.options, connection.config(), Deadline::never()});
    const bool has_shared_body = message.body.size() <= Messages::largest_shared_body;
    messages.add(has_shared_body ? messages.with_shared_body(message) : builder->take(Deadline::never()), options);
}

void Batch::add_json(const Json& body, const PublishOptions& options) { add(body, options); }
void Batch::add_text(std::string_view body, const PublishOptions& options) { add(body, options); }
void Batch::add_bytes(std::span<const std::byte> body, const PublishOptions& options) { add(body, options); }

std::size_t Batch::size() const noexcept { return messages_ ? messages_->outgoing.size() : 0; }

void Batch::clear() noexcept {
    if (messages_ && !messages_->is_in_commit) messages_->clear();
}

void Batch::commit(OptionalTimeout timeout) { net::run(async::Operations::commit(*this, timeout)); }

namespace {

/// Declares and publishes once, and returns the outcome of each message. A message whose declaration is refused is not
/// published. Each message has an index into `requirements`.
template <class Requirements>
async::Operation<Results> publish_once(detail::ConnectionState& connection, std::span<const OutgoingMessage> messages,
                                       std::span<const std::size_t> requirements_of,
                                       std::span<const Requirements> requirements, Deadline deadline) {
    Results results(messages.size());
    std::exception_ptr failure;
    try {
        std::shared_ptr<TransportChannel> channel = co_await connection.default_channel(deadline);
        Results refusals(requirements.size());  // of their declarations
        std::size_t last = requirements.size();
        for (const std::size_t at : requirements_of) {
            if (at == last || refusals[at]) continue;
            last = at;
            for (const Entity& entity : requirements[at].declare) {
                if (is_declared(connection, entity)) continue;
                try {
                    if (!channel->is_open()) channel = co_await connection.default_channel(deadline);
                    co_await declare_and_remember(connection, *channel, entity, deadline);
                } catch (const ChannelError&) {
                    refusals[at] = std::current_exception();
                }
                if (refusals[at]) break;
            }
        }
        const bool declaration_failed =
            std::ranges::any_of(refusals, [](const auto& error) { return error != nullptr; });
        if (declaration_failed)
            for (std::size_t i = 0; i < messages.size(); ++i) results[i] = refusals[requirements_of[i]];
        if (!channel->is_open()) channel = co_await connection.default_channel(deadline);
        if (!declaration_failed) {
            results = co_await channel->basic_publish_all(messages, deadline, {});
            react_to_refusals(connection, results);
            co_return results;
        }
        std::vector<OutgoingMessage> remaining;
        for (std::size_t i = 0; i < messages.size(); ++i)
            if (!results[i]) remaining.push_back(messages[i]);
        const Results remaining_results = co_await channel->basic_publish_all(remaining, deadline, {});
        for (std::size_t i = 0, at = 0; i < messages.size(); ++i)
            if (!results[i]) results[i] = remaining_results[at++];
    } catch (const OperationalError&) {
        failure = std::current_exception();
    }
    if (failure)
        for (std::exception_ptr& result : results)
            if (!result) result = failure;
    react_to_refusals(connection, results);
    co_return results;
}

}  // namespace

async::Operation<> async::Operations::commit(Batch& batch, OptionalTimeout timeout) {
    if (!batch.messages_) throw LeaseError("the batch was moved from");
    Batch::Messages& messages = *batch.messages_;
    kombu::detail::ConnectionState& connection = messages.connection.checked();
    const kombu::detail::ConnectionState::OperationGuard guard{connection};
    const auto start = Clock::now();
    const Deadline deadline = connection.deadline(timeout);
    if (messages.outgoing.empty()) co_return;

    const Batch::Messages::CommitScope scope{messages};
    const std::span<const Batch::Messages::Requirements> requirements{messages.requirements};
    Results results =
        co_await publish_once(connection, messages.outgoing, messages.requirements_of, requirements, deadline);
    std::optional<Backoff> backoff;
    Deadline retry_deadline = deadline;
    try {
        for (;;) {
            std::vector<std::size_t> retry_indices;
            std::vector<OutgoingMessage> retry_messages;
            std::vector<std::size_t> retry_requirements;
            for (std::size_t i = 0; i < results.size(); ++i) {
                if (!results[i]) continue;
                const auto& retry_policy = requirements[messages.requirements_of[i]].retry_policy;
                if (!retry_policy || !is_retryable(results[i])) continue;
                if (!backoff) {
                    const RetryPolicy& policy = *retry_policy;
                    if (policy.timeout.has_value())
                        retry_deadline = std::min(deadline, Deadline::at(start + policy.timeout.value()));
                    backoff.emplace(policy, retry_deadline, timeout.has_value() || policy.timeout.has_value());
                }
                retry_indices.push_back(i);
                retry_messages.push_back(messages.outgoing[i]);
                retry_requirements.push_back(messages.requirements_of[i]);
            }
            const auto pause = retry_indices.empty() ? std::nullopt : backoff->next();
            if (!pause) break;
            co_await connection.pause_before_retry(Deadline::after(*pause));
            const Results retry_results =
                co_await publish_once(connection, retry_messages, retry_requirements, requirements, retry_deadline);
            for (std::size_t i = 0; i < retry_indices.size(); ++i) results[retry_indices[i]] = retry_results[i];
        }
    } catch (...) {  // of a callback, for one: what has been confirmed must not be sent again
        count(connection, messages.outgoing, results);
        messages.retain_failed(results);
        throw;
    }
    count(connection, messages.outgoing, results);
    messages.retain_failed(results);
    if (!messages.outgoing.empty()) throw_batch_error(results, backoff ? backoff->describe() : std::string{});
}

}  // namespace kombu
