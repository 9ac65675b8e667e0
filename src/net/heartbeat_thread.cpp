#include "net/heartbeat_thread.hpp"

#include <kombu/detail/per_process.hpp>

namespace kombu::net {

kombu::detail::Maintenance& keeper() {
    static constinit kombu::detail::Immortal<kombu::detail::PerProcess<kombu::detail::Maintenance>> the_keeper{};
    return the_keeper.value.get();
}

}  // namespace kombu::net
