// SPDX-License-Identifier: BSD-3-Clause
// Replaces src/net/blocking_driver.cpp: the library's blocking calls run on the asynchronous driver. So the tests of
// operations run against both drivers.
#include "net/blocking_driver.hpp"

#include <kombu/asio/initiate.hpp>

#include <boost/asio/io_context.hpp>

#include <exception>
#include <stdexcept>

namespace kombu::net {
namespace {

kombu::async::Operation<> relay(kombu::async::OperationHandle inner) {
    inner.set_waker(co_await kombu::async::this_waker);
    for (kombu::async::Ready ready; !inner.resume(ready);) ready = co_await kombu::async::Wait{inner.wait()};
}

}  // namespace

void drive(kombu::async::OperationHandle operation) {
    boost::asio::io_context context{1};
    bool called = false;
    std::exception_ptr failure;
    kombu::detail::Initiated<void, std::monostate> job;
    job.operation.emplace(relay(operation));
    kombu::detail::start<void, kombu::detail::Completion<true, void>>(
        job,
        [&](std::exception_ptr error) {
            called = true;
            failure = std::move(error);
        },
        context.get_executor());
    if (called) throw std::logic_error("an operation completed within its initiating function");
    context.run();
    if (!called) throw std::logic_error("an operation did not complete");
    if (failure) std::rethrow_exception(failure);
}

}  // namespace kombu::net
