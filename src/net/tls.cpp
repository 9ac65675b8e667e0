// SPDX-License-Identifier: BSD-3-Clause
#include "net/tls.hpp"

#include <kombu/error.hpp>

#include "net/tls_context.hpp"
#include "net/tls_sessions.hpp"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace kombu::net {
namespace {

/// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE; a library must not touch the process's signals.
int bio_write(BIO* bio, const char* data, int size) {
    BIO_clear_retry_flags(bio);
    const int fd = *static_cast<const int*>(BIO_get_data(bio));
    for (;;) {
        const ssize_t count = ::send(fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) return static_cast<int>(count);
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) BIO_set_retry_write(bio);
        return -1;
    }
}

int bio_read(BIO* bio, char* data, int size) {
    BIO_clear_retry_flags(bio);
    const int fd = *static_cast<const int*>(BIO_get_data(bio));
    for (;;) {
        const ssize_t count = ::recv(fd, data, static_cast<std::size_t>(size), MSG_DONTWAIT);
        if (count >= 0) return static_cast<int>(count);
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) BIO_set_retry_read(bio);
        return -1;
    }
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* bio_method() {
    // Created once and never freed: streams in static objects may outlive it otherwise.
    static const BIO_METHOD* const method = [] {
        BIO_METHOD* const created = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kombu socket");
        BIO_meth_set_write(created, bio_write);
        BIO_meth_set_read(created, bio_read);
        BIO_meth_set_ctrl(created, bio_control);
        return created;
    }();
    return method;
}

bool is_address(const std::string& host) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

/// TLS 1.2 says only that the handshake failed.
bool is_alert_about_certificate(int reason) {
    switch (reason - SSL_AD_REASON_OFFSET) {
        case SSL_AD_HANDSHAKE_FAILURE:
        case SSL_AD_BAD_CERTIFICATE:
        case SSL_AD_UNSUPPORTED_CERTIFICATE:
        case SSL_AD_CERTIFICATE_REVOKED:
        case SSL_AD_CERTIFICATE_EXPIRED:
        case SSL_AD_CERTIFICATE_UNKNOWN:
        case SSL_AD_UNKNOWN_CA:
        case SSL_AD_ACCESS_DENIED:
        case SSL_AD_CERTIFICATE_REQUIRED: return true;
        default: return false;
    }
}

const char* what_alert_means(int reason, bool has_certificate) {
    switch (reason - SSL_AD_REASON_OFFSET) {
        case SSL_AD_HANDSHAKE_FAILURE:
            return has_certificate ? ": no common algorithms, or the peer refuses the client certificate"
                                   : ": no common algorithms, or the peer requires a client certificate (ssl_certfile)";
        case SSL_AD_CERTIFICATE_REQUIRED: return ": the peer requires a client certificate (ssl_certfile)";
        default: return has_certificate ? ": the peer refuses the client certificate" : "";
    }
}

int clamp_to_int(std::size_t size) { return static_cast<int>(std::min<std::size_t>(size, INT_MAX)); }

}  // namespace

struct Tls::Impl {
    struct Deleter {
        void operator()(SSL* object) const noexcept { SSL_free(object); }
    };
    int descriptor;
    std::unique_ptr<SSL, Deleter> ssl{};
    bool has_certificate = false;
    bool verifies_peer = false;
    bool established = false;
    bool failed = false;
};

Tls::Tls(const SslOptions& options, const std::string& host, const std::string& peer, int descriptor)
    : impl_(new Impl{.descriptor = descriptor}) {
    const auto context = tls_context(options);
    ERR_clear_error();
    errno = 0;
    impl_->has_certificate = !options.certfile.empty();
    impl_->verifies_peer = options.cert_reqs == SslOptions::CertReqs::required;
    impl_->ssl.reset(SSL_new(context.get()));
    SSL* const ssl = impl_->ssl.get();
    BIO* const bio = ssl ? BIO_new(bio_method()) : nullptr;
    if (!bio) throw ConnectionError("TLS cannot be initialised: " + last_tls_error());
    BIO_set_data(bio, &impl_->descriptor);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_connect_state(ssl);
    const bool address = is_address(host);
    if (!address) SSL_set_tlsext_host_name(ssl, host.c_str());
    if (impl_->verifies_peer && options.check_hostname) {
        const bool set = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1
                                 : SSL_set1_host(ssl, host.c_str()) == 1;
        // Without a name the certificate would not be checked against any.
        if (!set || host.empty()) throw ConfigurationError("ssl_check_hostname: there is no host name to check");
    }
    resume_tls_session(ssl, peer);
}

Tls::~Tls() = default;

bool Tls::handle_failed_call(int result, const char* what) {
    SSL* const ssl = impl_->ssl.get();
    switch (SSL_get_error(ssl, result)) {
        case SSL_ERROR_WANT_READ: blocked_ = Blocked::on_read; return false;
        case SSL_ERROR_WANT_WRITE: blocked_ = Blocked::on_write; return false;
        case SSL_ERROR_ZERO_RETURN: return true;
        default: break;
    }
    impl_->failed = true;
    const long verify_result = SSL_get_verify_result(ssl);
    if (!impl_->established && impl_->verifies_peer && verify_result != X509_V_OK)
        throw ConnectionError(std::string{what} + ": the peer's certificate is not trusted: " +
                                  X509_verify_cert_error_string(verify_result),
                              0, false);
    const unsigned long code = ERR_peek_last_error();
    const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const std::string text = std::string{what} + ": " + last_tls_error();
    if (reason == SSL_R_WRONG_VERSION_NUMBER)
        throw ConnectionError(text + ": the peer does not speak TLS on this port", 0, false);
    if (is_alert_about_certificate(reason))
        throw ConnectionError(text + what_alert_means(reason, impl_->has_certificate), 0, false);
    throw ConnectionError(text);
}

Tls::Blocked Tls::handshake() {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int result = SSL_do_handshake(impl_->ssl.get());
    if (result == 1)
        impl_->established = true;
    else if (handle_failed_call(result, "TLS handshake"))
        throw ConnectionError("TLS handshake: the peer closed the connection");
    return blocked_;
}

std::optional<std::size_t> Tls::read_some(char* data, std::size_t size) {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int count = SSL_read(impl_->ssl.get(), data, clamp_to_int(size));
    if (count > 0) return static_cast<std::size_t>(count);
    if (handle_failed_call(count, "reading")) return std::size_t{0};
    return std::nullopt;
}

std::optional<std::size_t> Tls::write_some(std::string_view data) {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int count = SSL_write(impl_->ssl.get(), data.data(), clamp_to_int(data.size()));
    if (count > 0) return static_cast<std::size_t>(count);
    if (handle_failed_call(count, "writing")) throw ConnectionError("writing: the peer closed the connection");
    return std::nullopt;
}

std::string Tls::version() const { return SSL_get_version(impl_->ssl.get()); }

bool Tls::has_buffered() const noexcept { return SSL_has_pending(impl_->ssl.get()) == 1; }

void Tls::send_close_notify() noexcept {
    if (!impl_->established || impl_->failed) return;
    ERR_clear_error();
    SSL_shutdown(impl_->ssl.get());
}

}  // namespace kombu::net
