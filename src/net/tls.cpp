#include "net/tls.hpp"

#include <kombu/error.hpp>

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
#include <system_error>

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
    // Made once and kept: streams in static objects may outlive it otherwise.
    static const BIO_METHOD* const method = [] {
        BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kombu socket");
        BIO_meth_set_write(made, bio_write);
        BIO_meth_set_read(made, bio_read);
        BIO_meth_set_ctrl(made, bio_control);
        return made;
    }();
    return method;
}

/// What went wrong in this thread's last OpenSSL call.
std::string last_error() {
    const unsigned long code = ERR_peek_last_error();
    if (code == 0) return errno != 0 ? std::generic_category().message(errno) : "the peer closed the connection";
    std::array<char, 256> text{};
    if (const char* const reason = ERR_reason_error_string(code)) return reason;
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

[[noreturn]] void unusable(const char* option, const std::string& file) {
    throw ConfigurationError(std::string{option} + ": " + file + ": " + last_error());
}

bool is_address(const std::string& host) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

int as_int(std::size_t size) { return static_cast<int>(std::min<std::size_t>(size, INT_MAX)); }

}  // namespace

struct Tls::Parts {
    struct Free {
        void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
        void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
    };
    int descriptor;
    std::unique_ptr<SSL_CTX, Free> context{};
    std::unique_ptr<SSL, Free> ssl{};
    bool verifies = false;
    bool established = false;
    bool failed = false;
};

Tls::Tls(const SslOptions& options, const std::string& host, int descriptor)
    : parts_(new Parts{.descriptor = descriptor}) {
    ERR_clear_error();
    errno = 0;
    parts_->context.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX* const context = parts_->context.get();
    if (!context) throw ConnectionError("TLS cannot be initialised: " + last_error());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!options.certfile.empty()) {
        if (SSL_CTX_use_certificate_chain_file(context, options.certfile.c_str()) != 1)
            unusable("ssl_certfile", options.certfile);
        const std::string& key = options.keyfile.empty() ? options.certfile : options.keyfile;
        if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) unusable("ssl_keyfile", key);
    }
    if (options.cert_reqs == SslOptions::CertReqs::required) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
        parts_->verifies = true;
        if (options.ca_certs.empty())
            SSL_CTX_set_default_verify_paths(context);
        else if (SSL_CTX_load_verify_locations(context, options.ca_certs.c_str(), nullptr) != 1)
            unusable("ssl_ca_certs", options.ca_certs);
    }
    parts_->ssl.reset(SSL_new(context));
    SSL* const ssl = parts_->ssl.get();
    BIO* const bio = ssl ? BIO_new(bio_method()) : nullptr;
    if (!bio) throw ConnectionError("TLS cannot be initialised: " + last_error());
    BIO_set_data(bio, &parts_->descriptor);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_connect_state(ssl);
    const bool address = is_address(host);
    if (!address) SSL_set_tlsext_host_name(ssl, host.c_str());
    if (options.cert_reqs == SslOptions::CertReqs::required && options.check_hostname) {
        const bool set = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1
                                 : SSL_set1_host(ssl, host.c_str()) == 1;
        // Without a name nothing would be compared.
        if (!set || host.empty()) throw ConfigurationError("ssl_check_hostname: there is no host name to check");
    }
}

Tls::~Tls() = default;

bool Tls::end_or_blocked(int result, const char* what) {
    SSL* const ssl = parts_->ssl.get();
    switch (SSL_get_error(ssl, result)) {
        case SSL_ERROR_WANT_READ: blocked_ = Blocked::on_read; return false;
        case SSL_ERROR_WANT_WRITE: blocked_ = Blocked::on_write; return false;
        case SSL_ERROR_ZERO_RETURN: return true;
        default: break;
    }
    parts_->failed = true;
    const long verified = SSL_get_verify_result(ssl);
    if (!parts_->established && parts_->verifies && verified != X509_V_OK)
        throw ConnectionError(
            std::string{what} + ": the peer's certificate is not trusted: " + X509_verify_cert_error_string(verified),
            0, false);
    throw ConnectionError(std::string{what} + ": " + last_error());
}

Tls::Blocked Tls::handshake() {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int result = SSL_do_handshake(parts_->ssl.get());
    if (result == 1)
        parts_->established = true;
    else if (end_or_blocked(result, "TLS handshake"))
        throw ConnectionError("TLS handshake: the peer closed the connection");
    return blocked_;
}

std::optional<std::size_t> Tls::read_some(char* data, std::size_t size) {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int count = SSL_read(parts_->ssl.get(), data, as_int(size));
    if (count > 0) return static_cast<std::size_t>(count);
    if (end_or_blocked(count, "reading")) return std::size_t{0};
    return std::nullopt;
}

std::optional<std::size_t> Tls::write_some(std::string_view data) {
    ERR_clear_error();
    errno = 0;
    blocked_ = Blocked::no;
    const int count = SSL_write(parts_->ssl.get(), data.data(), as_int(data.size()));
    if (count > 0) return static_cast<std::size_t>(count);
    if (end_or_blocked(count, "writing")) throw ConnectionError("writing: the peer closed the connection");
    return std::nullopt;
}

bool Tls::has_buffered() const noexcept { return SSL_pending(parts_->ssl.get()) > 0; }

void Tls::say_goodbye() noexcept {
    if (!parts_->established || parts_->failed) return;
    ERR_clear_error();
    SSL_shutdown(parts_->ssl.get());
}

}  // namespace kombu::net
