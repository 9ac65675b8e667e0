// SPDX-License-Identifier: BSD-3-Clause
#include "net/tls_library.hpp"

#include <openssl/crypto.h>

namespace kombu::net {

void initialise_openssl() { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr); }

}  // namespace kombu::net
