#!/usr/bin/env bash
# Who may include whom (docs/architecture.md), and that each public header compiles by itself and reaches no C and no Boost
# header.
#
#   layering.sh ROOT COMPILER INCLUDE-DIRECTORY...    the directories are those of the public dependencies
set -euo pipefail
root=${1:?} compiler=${2:?}
shift 2
cd "$root"
problems=0
problem() { echo "layering: $*"; problems=$((problems + 1)); }

# The floors of include/kombu, from the ground up: a header includes only what stands on its own floor or below.
floors=(
    "version.hpp export.hpp deadline.hpp operation.hpp detail/ error.hpp log.hpp fork.hpp ssl.hpp"
    "pool/"
    "json.hpp url.hpp retry.hpp serialization.hpp compression.hpp"
    "entity.hpp message.hpp channel.hpp connection.hpp"
    "producer.hpp simple_queue.hpp batch.hpp celery.hpp"
    "transport.hpp"
    "pools.hpp"
    "kombu.hpp"
    "asio/"
    "asio.hpp"
)
floor_of() {
    local i name
    for i in "${!floors[@]}"; do
        for name in ${floors[$i]}; do
            case $1 in "$name" | "$name"*) [[ $name == */ || $1 == "$name" ]] && { echo "$i"; return; } ;; esac
        done
    done
    echo -1
}

while IFS= read -r header; do
    name=${header#include/kombu/}
    own=$(floor_of "$name")
    [ "$own" -ge 0 ] || problem "$header stands on no floor: add it to tests/package/layering.sh"
    while IFS= read -r included; do
        case $included in
            kombu/*)
                [ "$(floor_of "${included#kombu/}")" -le "$own" ] || problem "$header includes $included, which stands above it" ;;
            nlohmann/json.hpp) [ "$name" = json.hpp ] || problem "$header includes $included: use <kombu/json.hpp>" ;;
            pthread.h | signal.h | sys/syscall.h | time.h | unistd.h)
                case $name in detail/process.hpp | detail/maintenance.hpp) ;;
                *) problem "$header includes $included: what the system must give is in detail/process.hpp" ;;
                esac ;;
            boost/asio/* | boost/system/*)
                case $name in asio.hpp | asio/*) ;;
                *) problem "$header includes $included: only kombu/asio.hpp names Boost" ;;
                esac ;;
            cxxabi.h) [ "$name" = pool/detail/unwinding.hpp ] || problem "$header includes $included" ;;
            *[./]*) problem "$header includes $included, which is not of the standard library" ;;
        esac
    done < <(sed -n 's/^ *# *include *[<"]\([^>"]*\)[>"].*/\1/p' "$header")
done < <(find include -name '*.hpp' | sort)

# forbidden DIRECTORY PATTERN WHY
forbidden() {
    local found
    found=$(grep -rnE "^ *# *include *[<\"]($2)" "$1" || true)
    [ -z "$found" ] || problem "$3:"$'\n'"$found"
}
forbidden src/net '(amqp|redis|memory|virtual|nlohmann)/|kombu/(json|url|entity|message|channel|connection|producer|transport|pools)' "src/net knows no protocol"
forbidden src/virtual '(amqp|redis|memory|net)/|kombu/(channel|connection|producer|transport|pools)' "src/virtual knows no transport"
for transport in amqp redis memory; do
    forbidden src/$transport 'kombu/(connection|producer|simple_queue|pools|kombu)\.hpp|kombu/pool/(resource|pool|lease|group|factory)|connection_state' \
        "src/$transport knows neither pools nor what is built on transports"
done
forbidden src/memory '(amqp|redis|net)/' "src/memory uses no network"
forbidden src/redis 'amqp/|memory/' "src/redis knows no other transport"
forbidden src/amqp 'redis/|memory/|virtual/' "src/amqp knows no other transport"
others=$(grep -rlE '^ *# *include *<(amqp|rabbitmq)' src | grep -v '^src/amqp/' || true)
[ -z "$others" ] || problem "librabbitmq is included outside src/amqp: $others"
others=$(grep -rlE '^ *# *include *<openssl/' src | grep -vE '^src/(net/tls|redis/script)\.cpp' || true)
[ -z "$others" ] || problem "OpenSSL is included outside src/net/tls.cpp: $others"

# Each public header by itself.
dependencies=$(mktemp)
trap 'rm -f "$dependencies"' EXIT
flags=(-std=c++20 -Iinclude)
for directory in "$@"; do [ -z "$directory" ] || [ "$directory" = /usr/include ] || flags+=(-isystem "$directory"); done
while IFS= read -r header; do
    if ! echo "#include \"$root/$header\"" | "$compiler" "${flags[@]}" -fsyntax-only -MD -MF "$dependencies" -x c++ -; then
        problem "$header does not compile by itself"
        continue
    fi
    case $header in include/kombu/asio*) continue ;; esac
    reached=$(tr -s ' \\' '\n\n' <"$dependencies" | grep -E '/(boost|hiredis|openssl|rabbitmq-c)/|/(amqp[a-z_]*|zlib)\.h$' || true)
    [ -z "$reached" ] || problem "$header reaches $reached"
done < <(find include -name '*.hpp' | sort)

[ "$problems" = 0 ] || exit 1
echo "layering: all headers keep to their floors"
