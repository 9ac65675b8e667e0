// SPDX-License-Identifier: BSD-3-Clause
#include "net/tls_context.hpp"

#include <kombu/detail/fork_local.hpp>
#include <kombu/error.hpp>
#include <kombu/log.hpp>

#include "net/tls_library.hpp"
#include "net/tls_sessions.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace kombu::net {
namespace {

[[noreturn]] void throw_unusable_file(const char* option, const std::string& file) {
    throw ConfigurationError(std::string{option} + ": " + file + ": " + last_tls_error());
}

std::shared_ptr<SSL_CTX> load(const SslOptions& options) {
    ERR_clear_error();
    errno = 0;
    initialise_openssl();
    std::shared_ptr<SSL_CTX> created{SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
    SSL_CTX* const context = created.get();
    if (!context) throw ConnectionError("TLS cannot be initialised: " + last_tls_error());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);  // one system call for a record instead of two
    if (!options.certfile.empty()) {
        if (SSL_CTX_use_certificate_chain_file(context, options.certfile.c_str()) != 1)
            throw_unusable_file("ssl_certfile", options.certfile);
        const std::string& key = options.keyfile.empty() ? options.certfile : options.keyfile;
        if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
            throw_unusable_file("ssl_keyfile", key);
    }
    if (options.cert_reqs == SslOptions::CertReqs::required) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
        if (options.ca_certs.empty() && options.ca_path.empty()) SSL_CTX_set_default_verify_paths(context);
        if (!options.ca_certs.empty() && SSL_CTX_load_verify_file(context, options.ca_certs.c_str()) != 1)
            throw_unusable_file("ssl_ca_certs", options.ca_certs);
        if (!options.ca_path.empty()) {
            // OpenSSL reads the directory only when it looks for an authority.
            if (::access(options.ca_path.c_str(), R_OK | X_OK) != 0 ||
                SSL_CTX_load_verify_dir(context, options.ca_path.c_str()) != 1)
                throw_unusable_file("ssl_ca_path", options.ca_path);
        }
    }
    // With a client certificate each connection proves its own: brokers forget it in a session that is resumed.
    if (options.certfile.empty()) keep_tls_sessions(context);
    return created;
}

/// Identifies the contents of files without reading them.
class FileVersions {
public:
    explicit FileVersions(const SslOptions& options) {
        for (const std::string& file : {options.ca_certs, options.certfile, options.keyfile}) add(file);
        add(options.ca_path);
        if (!options.ca_path.empty()) add_entries(options.ca_path);
        if (options.ca_certs.empty() && options.ca_path.empty()) {
            add(X509_get_default_cert_file());
            add(X509_get_default_cert_dir());  // its entries are links with other names for other contents
        }
    }
    friend bool operator==(const FileVersions&, const FileVersions&) = default;

private:
    void add(const std::string& file) {
        struct stat found {};
        if (file.empty() || ::stat(file.c_str(), &found) != 0) return numbers_.push_back(0);
        for (const std::int64_t number : {static_cast<std::int64_t>(found.st_ino), std::int64_t{found.st_size},
                                          std::int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec})
            numbers_.push_back(number);
    }
    void add_entries(const std::string& directory) {
        std::error_code error;
        for (std::filesystem::directory_iterator entry{directory, error}, end; !error && entry != end;
             entry.increment(error))
            add(entry->path().string());
    }

    std::vector<std::int64_t> numbers_{};
};

class ContextCache {
public:
    /// `warning`: for the log, which is written without the lock.
    std::shared_ptr<SSL_CTX> find_or_load(const SslOptions& options, std::string& warning) {
        FileVersions files{options};
        const std::lock_guard lock{mutex_};
        const auto found = std::ranges::find(entries_, options, &Entry::options);
        if (found == entries_.end()) {
            std::shared_ptr<SSL_CTX> context = load(options);
            if (entries_.size() == max_entries) entries_.erase(entries_.begin());
            entries_.push_back({options, std::move(files), std::move(context)});
            return entries_.back().context;
        }
        std::rotate(found, std::next(found), entries_.end());
        Entry& entry = entries_.back();
        if (entry.files != files) warning = reload(entry, std::move(files));
        return entry.context;
    }

private:
    static constexpr std::size_t max_entries = 16;
    struct Entry {
        SslOptions options;
        FileVersions files;
        std::shared_ptr<SSL_CTX> context;
        bool is_outdated = false;
    };

    /// Files that are being replaced may not fit together for a moment: the next connection tries again.
    /// Returns what to log, or nothing.
    static std::string reload(Entry& entry, FileVersions files) {
        try {
            entry.context = load(entry.options);
            entry.files = std::move(files);
            entry.is_outdated = false;
        } catch (const ConfigurationError& error) {
            if (!std::exchange(entry.is_outdated, true))
                return std::string{"TLS: the changed files cannot be used, and the earlier ones are: "} + error.what();
        }
        return {};
    }

    std::mutex mutex_{};
    std::vector<Entry> entries_{};  // the last used one last
};

}  // namespace

std::shared_ptr<SSL_CTX> tls_context(const SslOptions& options) {
    // A child must not use the parent's contexts: another thread may have held their locks. Never destroyed: threads
    // may still connect while the process exits.
    static constinit detail::NoDestructor<detail::ForkLocal<ContextCache>> cache{};
    std::string warning;
    auto context = cache.value.get().find_or_load(options, warning);
    if (!warning.empty()) log(LogLevel::warning, warning);
    return context;
}

std::string last_tls_error() {
    const unsigned long code = ERR_peek_last_error();
    if (code == 0) return errno != 0 ? std::generic_category().message(errno) : "the peer closed the connection";
    std::array<char, 256> text{};
    if (const char* const reason = ERR_reason_error_string(code)) return reason;
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

}  // namespace kombu::net
