// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/error.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <string>
#include <type_traits>

namespace kombu {

/// An asynchronous operation was cancelled through its cancellation slot. Its error code is
/// boost::asio::error::operation_aborted.
class KOMBU_EXPORT Cancelled : public Error {
public:
    using Error::Error;
};

/// The exceptions of kombu/error.hpp as error codes, for completion handlers that take a boost::system::error_code.
/// There is one value for each class that a program may need to distinguish.
enum class errc {
    other = 1,           ///< Error, or an exception of another library
    configuration,       ///< ConfigurationError
    connection,          ///< ConnectionError
    timeout,             ///< Timeout
    channel,             ///< ChannelError
    not_equivalent,      ///< NotEquivalentError
    unroutable,          ///< Unroutable
    nacked,              ///< Nacked
    limit_exceeded,      ///< LimitExceeded, ChannelLimitExceeded
    connection_limit,    ///< ConnectionLimitExceeded
    pool_closed,         ///< PoolClosed
    lease,               ///< LeaseError
    encode,              ///< EncodeError
    decode,              ///< DecodeError
    serializer,          ///< SerializerNotInstalled
    content_disallowed,  ///< ContentDisallowed
    message_state,       ///< MessageStateError
    empty,               ///< Empty
    batch,               ///< BatchError: the batch holds the messages that failed
    authentication,      ///< AuthenticationError
    loading,             ///< LoadingError
    read_only,           ///< ReadOnlyError
    moved,               ///< MovedError
    out_of_memory,       ///< OutOfMemoryError
    busy,                ///< BusyError
};

// The base class has no public destructor that could be called through it, which the warning does not consider.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
/// The category of kombu::errc, named "kombu".
inline const boost::system::error_category& error_category() noexcept {
    class Category final : public boost::system::error_category {
    public:
        constexpr Category() noexcept : error_category(0x6b6f6d62752d6370) {}
        const char* name() const noexcept override { return "kombu"; }
        std::string message(int value) const override {
            switch (static_cast<errc>(value)) {
                case errc::configuration: return "invalid URL, option or argument";
                case errc::connection: return "the connection failed";
                case errc::timeout: return "the broker did not answer in time";
                case errc::channel: return "the broker refused the operation";
                case errc::not_equivalent: return "the exchange or queue exists with other properties";
                case errc::unroutable: return "the message reached no queue";
                case errc::nacked: return "the broker refused the message";
                case errc::limit_exceeded: return "the limit is reached";
                case errc::connection_limit: return "the limit of connections is reached";
                case errc::pool_closed: return "the pool is closed";
                case errc::lease: return "the lease has ended, or the connection is busy";
                case errc::encode: return "the body cannot be encoded";
                case errc::decode: return "the body cannot be decoded";
                case errc::serializer: return "unknown serializer or compression";
                case errc::content_disallowed: return "the content type is not accepted";
                case errc::message_state: return "the message is settled already";
                case errc::empty: return "the queue is empty";
                case errc::batch: return "some messages of the batch were not confirmed";
                case errc::authentication: return "authentication failed";
                case errc::loading: return "the server is loading its data";
                case errc::read_only: return "the server is a replica";
                case errc::moved: return "the server belongs to a cluster";
                case errc::out_of_memory: return "the server is out of memory";
                case errc::busy: return "the server is temporarily unable to store messages";
                default: return "the operation failed";
            }
        }
    };
    static constexpr Category category;
    return category;
}
#pragma GCC diagnostic pop

/// For boost::system: the error code of a value.
inline boost::system::error_code make_error_code(errc value) noexcept {
    return {static_cast<int>(value), error_category()};
}

/// The error code for an exception. An exception that has a code (boost::system::system_error) keeps it.
/// \return no error when `error` is null
inline boost::system::error_code to_error_code(const std::exception_ptr& error) noexcept {
    if (!error) return {};
    try {
        std::rethrow_exception(error);
    } catch (const Cancelled&) {
        return boost::asio::error::operation_aborted;
    } catch (const ConfigurationError&) {
        return make_error_code(errc::configuration);
    } catch (const Timeout&) {
        return make_error_code(errc::timeout);
    } catch (const AuthenticationError&) {
        return make_error_code(errc::authentication);
    } catch (const LoadingError&) {
        return make_error_code(errc::loading);
    } catch (const ReadOnlyError&) {
        return make_error_code(errc::read_only);
    } catch (const MovedError&) {
        return make_error_code(errc::moved);
    } catch (const ConnectionError&) {
        return make_error_code(errc::connection);
    } catch (const NotEquivalentError&) {
        return make_error_code(errc::not_equivalent);
    } catch (const Unroutable&) {
        return make_error_code(errc::unroutable);
    } catch (const OutOfMemoryError&) {
        return make_error_code(errc::out_of_memory);
    } catch (const BusyError&) {
        return make_error_code(errc::busy);
    } catch (const ChannelError&) {
        return make_error_code(errc::channel);
    } catch (const BatchError&) {
        return make_error_code(errc::batch);
    } catch (const Nacked&) {
        return make_error_code(errc::nacked);
    } catch (const ConnectionLimitExceeded&) {
        return make_error_code(errc::connection_limit);
    } catch (const LimitExceeded&) {
        return make_error_code(errc::limit_exceeded);
    } catch (const PoolClosed&) {
        return make_error_code(errc::pool_closed);
    } catch (const LeaseError&) {
        return make_error_code(errc::lease);
    } catch (const EncodeError&) {
        return make_error_code(errc::encode);
    } catch (const DecodeError&) {
        return make_error_code(errc::decode);
    } catch (const ContentDisallowed&) {
        return make_error_code(errc::content_disallowed);
    } catch (const SerializerNotInstalled&) {
        return make_error_code(errc::serializer);
    } catch (const MessageStateError&) {
        return make_error_code(errc::message_state);
    } catch (const Empty&) {
        return make_error_code(errc::empty);
    } catch (const boost::system::system_error& with_code) {
        return with_code.code();
    } catch (...) {
        return make_error_code(errc::other);
    }
}

}  // namespace kombu

/// \cond
template <>
struct boost::system::is_error_code_enum<kombu::errc> : std::true_type {};
/// \endcond
