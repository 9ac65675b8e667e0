// SPDX-License-Identifier: BSD-3-Clause
// URLs: parsing refuses with ConfigurationError or keeps what it prints, and no password is printed.
#include <kombu/connection.hpp>
#include <kombu/error.hpp>
#include <kombu/url.hpp>

#include "fuzz.hpp"

#include <string>

void fuzz(std::string_view input) {
    const std::string text{input};
    (void)kombu::sanitize_url(text);
    try {
        const kombu::Url url = kombu::parse_url(text);
        require(!url.transport.empty(), "a parsed URL has a transport");
    } catch (const kombu::ConfigurationError&) {
        // A connection takes lists and bare names too. Most of what is no URL is neither, and costs time.
        if (text.find(';') == std::string::npos && text.find("//") != std::string::npos) return;
    }
    try {
        const kombu::Connection connection{text};
        const std::string printed = connection.as_uri(kombu::ShowPassword::yes);
        const kombu::Connection again{printed};
        require(again.as_uri(kombu::ShowPassword::yes) == printed, "a printed URL means itself");
        require(kombu::Connection{connection.as_uri()}.hostname() == connection.hostname(),
                "a URL without its password names the same host");
    } catch (const kombu::ConfigurationError&) {
    }
}
