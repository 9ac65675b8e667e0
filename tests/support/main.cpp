// SPDX-License-Identifier: BSD-3-Clause
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif

#ifdef __SANITIZE_THREAD__
// ThreadSanitizer does not see how libstdc++ counts the references of an exception_ptr, and does not support the fence
// with which Asio counts those of a type-erased executor.
extern "C" const char* __tsan_default_suppressions() {
    return "race:std::__exception_ptr::exception_ptr::_M_release\n"
           "race:std::runtime_error::~runtime_error\n"  // the same, when the last reference is released
           "race:boost::asio::execution::detail::any_executor_base\n";
}
#endif
