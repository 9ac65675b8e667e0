// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

namespace kombu::status {

/// A socket that a forked child closes, so that the port and the clients are not held by a process without a server.
class NotInherited {
public:
    explicit NotInherited(int socket) noexcept;
    NotInherited(const NotInherited&) = delete;
    NotInherited& operator=(const NotInherited&) = delete;
    ~NotInherited();

private:
    std::size_t index_;
};

}  // namespace kombu::status
