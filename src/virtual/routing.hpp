#pragma once

#include <kombu/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace kombu::routing {

/// AMQP's topic match, word by word: `*` is one word, `#` any number of words, none included.
bool topic_matches(std::string_view pattern, std::string_view key);

/// AMQP's headers match. `x-match` is `all` (the default), `any`, `all-with-x` or `any-with-x`; without `-with-x`,
/// arguments that begin with `x-` do not take part. A null argument asks only that the header is there.
bool headers_match(const Json& arguments, const Json& headers);

/// Whether routing knows exchanges of that type.
bool is_exchange_type(std::string_view type);

struct Binding {
    std::string queue{};
    std::string routing_key{};
    Json arguments = Json::object();
    friend bool operator==(const Binding&, const Binding&) = default;
};

/// The bindings of one exchange.
class Bindings {
public:
    explicit Bindings(std::string type) : type_(std::move(type)) {}

    const std::string& type() const noexcept { return type_; }
    bool empty() const noexcept { return bindings_.empty(); }
    /// Binding twice does nothing.
    void bind(Binding binding);
    /// False when it was not bound.
    bool unbind(const Binding& binding);
    /// Forgets every binding of that queue.
    void remove_queue(std::string_view queue);
    /// The queues that a message goes to, each once.
    std::vector<std::string> route(std::string_view routing_key, const Json& headers) const;

private:
    bool matches(const Binding& binding, std::string_view routing_key, const Json& headers) const;

    std::string type_;
    std::vector<Binding> bindings_;
};

}  // namespace kombu::routing
