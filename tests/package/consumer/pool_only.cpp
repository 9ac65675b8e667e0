// SPDX-License-Identifier: BSD-3-Clause
#include <kombu/pool/pool_group.hpp>
#include <kombu/pool/resource_pool.hpp>

#include <memory>
#include <string>

int main() {
    using Pool = kombu::ResourcePool<std::string>;
    kombu::PoolGroup<int, Pool> group{[](int, const kombu::PoolOptions& options) {
                                          kombu::ResourceFactory<std::string> factory;
                                          factory.create = [](kombu::Deadline) {
                                              return std::make_shared<std::string>("made");
                                          };
                                          return std::make_unique<Pool>(factory, options);
                                      },
                                      2};
    const auto lease = group[1].acquire();
    return *lease == "made" ? 0 : 1;
}
