// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

struct ssl_st;  // of OpenSSL: SSL and SSL_CTX
struct ssl_ctx_st;

namespace kombu::net {

/// Keeps the sessions of this context's connections, so that later connections to the same peer resume them: a
/// handshake without certificates takes a fraction of the CPU time. They go with the context, so that a session is
/// resumed only under the options that it was verified with.
void keep_tls_sessions(::ssl_ctx_st* context);

/// Before a handshake: resumes a kept session with this peer, if there is one. The string must outlive the connection.
void resume_tls_session(::ssl_st* connection, const std::string& peer);

}  // namespace kombu::net
