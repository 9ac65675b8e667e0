#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif

#ifdef __SANITIZE_THREAD__
// libstdc++ counts the references of an exception_ptr where ThreadSanitizer does not see it; Asio counts those of a
// type-erased executor with a fence, which it does not know.
extern "C" const char* __tsan_default_suppressions() {
    return "race:std::__exception_ptr::exception_ptr::_M_release\n"
           "race:std::runtime_error::~runtime_error\n"  // the same, from the last of them
           "race:boost::asio::execution::detail::any_executor_base\n";
}
#endif
