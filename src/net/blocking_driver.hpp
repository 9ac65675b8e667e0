#pragma once

#include <kombu/operation.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace kombu::net {

/// Waits on the caller's thread for what an operation waits for.
class BlockingDriver final : public Waker {
public:
    /// May return early, with nothing.
    Ready wait(const Wait& what);
    void wake() noexcept override;

private:
    std::atomic<std::uint32_t> woken_{0};
};

/// Runs an operation to its end on the caller's thread.
template <class T>
T run(Operation<T> operation) {
    BlockingDriver driver;
    operation.set_waker(driver);
    Ready ready;
    while (!operation.resume(ready)) ready = driver.wait(operation.wait());
    return operation.result();
}

}  // namespace kombu::net
