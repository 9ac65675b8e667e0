// SPDX-License-Identifier: BSD-3-Clause
#include "net/tls_sessions.hpp"

#include <openssl/ssl.h>

#include <cstddef>
#include <ctime>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace kombu::net {
namespace {

struct SessionDeleter {
    void operator()(SSL_SESSION* session) const noexcept { SSL_SESSION_free(session); }
};
using SessionPtr = std::unique_ptr<SSL_SESSION, SessionDeleter>;

bool is_expired(const SSL_SESSION* session) {
    return std::time(nullptr) >= SSL_SESSION_get_time(session) + SSL_SESSION_get_timeout(session);
}

class SessionStore {
public:
    void add(const std::string& peer, SessionPtr session) {
        const std::lock_guard lock{mutex_};
        if (sessions_.size() >= max_peers && !sessions_.contains(peer)) sessions_.clear();
        std::deque<SessionPtr>& of_peer = sessions_[peer];
        of_peer.push_back(std::move(session));
        if (of_peer.size() > max_sessions) of_peer.pop_front();
    }
    /// Null when there is none.
    SessionPtr get(const std::string& peer) {
        const std::lock_guard lock{mutex_};
        const auto found = sessions_.find(peer);
        if (found == sessions_.end()) return nullptr;
        std::deque<SessionPtr>& of_peer = found->second;
        while (!of_peer.empty()) {
            SSL_SESSION* const latest = of_peer.back().get();
            if (is_expired(latest)) {
                of_peer.pop_back();
                continue;
            }
            // A copy: OpenSSL forbids to resume a session once its connection has broken.
            if (SSL_SESSION_get_protocol_version(latest) < TLS1_3_VERSION) return SessionPtr{SSL_SESSION_dup(latest)};
            // A ticket of TLS 1.3 is used once, so that connections cannot be linked.
            SessionPtr taken = std::move(of_peer.back());
            of_peer.pop_back();
            return taken;
        }
        return nullptr;
    }

private:
    static constexpr std::size_t max_peers = 64, max_sessions = 32;
    std::mutex mutex_{};
    std::map<std::string, std::deque<SessionPtr>> sessions_{};
};

void delete_store(void*, void* store, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<SessionStore*>(store); }

int store_index() {
    static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, delete_store);
    return index;
}

int peer_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

SessionStore* store_of(const SSL_CTX* context) {
    return static_cast<SessionStore*>(SSL_CTX_get_ex_data(context, store_index()));
}

int on_new_session(SSL* connection, SSL_SESSION* session) {
    SessionStore* const store = store_of(SSL_get_SSL_CTX(connection));
    const auto* const peer = static_cast<const std::string*>(SSL_get_ex_data(connection, peer_index()));
    if (!store || !peer || SSL_SESSION_is_resumable(session) == 0) return 0;
    try {
        // A copy, for the same reason as above.
        if (SessionPtr copy{SSL_SESSION_dup(session)}) store->add(*peer, std::move(copy));
    } catch (const std::exception&) {
        // Without memory the next handshake is a full one.
    }
    return 0;
}

}  // namespace

void keep_tls_sessions(SSL_CTX* context) {
    auto store = std::make_unique<SessionStore>();
    if (SSL_CTX_set_ex_data(context, store_index(), store.get()) != 1) return;
    (void)store.release();  // the context owns it
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_new_session);
}

void resume_tls_session(SSL* connection, const std::string& peer) {
    SessionStore* const store = store_of(SSL_get_SSL_CTX(connection));
    if (!store) return;
    SSL_set_ex_data(connection, peer_index(), const_cast<std::string*>(&peer));  // only read
    if (const SessionPtr session = store->get(peer)) SSL_set_session(connection, session.get());
}

}  // namespace kombu::net
