// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace kombu::net {

/// Call before the first use of OpenSSL. Keeps OpenSSL from freeing its state when the process exits, unless the
/// program has initialised it before: threads of this library may still use it then.
void initialise_openssl();

}  // namespace kombu::net
