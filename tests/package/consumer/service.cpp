// SPDX-License-Identifier: BSD-3-Clause
// Uses the installed add-ons.
#include <kombu/metrics.hpp>
#include <kombu/pools.hpp>
#include <kombu/status.hpp>

#include <iostream>

int main() {
    const auto lease = kombu::pools::connections[kombu::Connection{"memory://service"}].acquire();
    const kombu::status::StatusServer status{"127.0.0.1:0"};
    const std::string text = kombu::metrics::Collector{}.text();
    std::cout << status.url() << '\n';
    return text.find("kombu_pool_in_use") == std::string::npos;
}
