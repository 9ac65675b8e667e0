// SPDX-License-Identifier: BSD-3-Clause
#include "net/heartbeat_thread.hpp"

#include <kombu/detail/fork_local.hpp>

namespace kombu::net {

kombu::detail::PeriodicThread& heartbeat_thread() {
    static constinit kombu::detail::NoDestructor<kombu::detail::ForkLocal<kombu::detail::PeriodicThread>>
        the_heartbeat_thread{};
    return the_heartbeat_thread.value.get();
}

}  // namespace kombu::net
