#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
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
    "version.hpp config.hpp deadline.hpp operation.hpp detail/process.hpp detail/fork_local.hpp detail/fork_safe_map.hpp detail/thread.hpp detail/periodic_ error.hpp log.hpp fork.hpp ssl.hpp"
    "pool/"
    "json.hpp stats.hpp field.hpp body.hpp url.hpp failover.hpp retry.hpp serialization.hpp compression.hpp"
    "detail/connection_ref.hpp entity.hpp broker_info.hpp message.hpp channel.hpp"
    "transport.hpp"
    "connection.hpp"
    "producer.hpp simple_queue.hpp consumer.hpp detail/handler_traits.hpp consumer_loop.hpp batch.hpp celery.hpp celery_result.hpp"
    "async.hpp pools.hpp channel_pool.hpp"
    "kombu.hpp"
    "asio/"
    "asio.hpp"
)
floor_of() {
    local i name
    for i in "${!floors[@]}"; do
        for name in ${floors[$i]}; do
            case $1 in "$name" | "$name"*) [[ $name == */ || $name == *_ || $1 == "$name" ]] && { echo "$i"; return; } ;; esac
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
            dlfcn.h | pthread.h | signal.h | sys/syscall.h | time.h | unistd.h)
                case $name in detail/process.hpp | detail/thread.hpp) ;;
                *) problem "$header includes $included: what the system must give is in detail/process.hpp" ;;
                esac ;;
            boost/asio/* | boost/system/*)
                case $name in asio.hpp | asio/*) ;;
                *) problem "$header includes $included: only kombu/asio.hpp names Boost" ;;
                esac ;;
            cxxabi.h) [ "$name" = pool/detail/thread_cache.hpp ] || problem "$header includes $included" ;;
            *[./]*) problem "$header includes $included, which is not of the standard library" ;;
        esac
    done < <(sed -n 's/^ *# *include *[<"]\([^>"]*\)[>"].*/\1/p' "$header")
done < <(find include -name '*.hpp' | sort)

# The folders of src/: which others a file may include, and the highest floor of include/kombu that it may include.
# docs/architecture.md has the same table.
declare -A folders=(
    [support]="" [messages]="support" [net]="support" [transport]="support messages"
    [virtual]="support messages" [amqp]="support messages net transport"
    [redis]="support messages net transport virtual" [memory]="support messages transport virtual"
    [client]="support messages net transport virtual amqp redis memory"
    [pools]="support messages net transport virtual amqp redis memory client"
)
declare -A highest=(
    [support]=error.hpp [messages]=json.hpp [net]=error.hpp [transport]=transport.hpp [virtual]=message.hpp
    [amqp]=transport.hpp [redis]=transport.hpp [memory]=transport.hpp [client]=kombu.hpp [pools]=kombu.hpp
)
while IFS= read -r file; do
    folder=${file#src/}
    folder=${folder%%/*}
    if [ "$folder" = "${file#src/}" ] || [ -z "${highest[$folder]+known}" ]; then
        problem "$file stands in no known folder of src/"
        continue
    fi
    top=$(floor_of "${highest[$folder]}")
    while IFS= read -r included; do
        case $included in
            kombu/*)
                [ "$(floor_of "${included#kombu/}")" -le "$top" ] || problem "$file includes $included: src/$folder stands below it" ;;
            amqp.h | amqp_*.h | rabbitmq-c/*) [ "$folder" = amqp ] || problem "$file includes $included: librabbitmq is for src/amqp" ;;
            hiredis/*) [ "$folder" = redis ] || problem "$file includes $included: hiredis is for src/redis" ;;
            openssl/*)
                case $file in src/net/tls*.cpp | src/redis/scripts.cpp) ;; *) problem "$file includes $included: OpenSSL is for src/net/tls*.cpp" ;; esac ;;
            */*.hpp)
                other=${included%%/*}
                [ -d "src/$other" ] || continue
                [ "$other" = "$folder" ] || [[ " ${folders[$folder]} " == *" $other "* ]] ||
                    problem "$file includes $included: src/$folder may include ${folders[$folder]:-nothing} only" ;;
            *.hpp) problem "$file includes $included: say the folder" ;;
        esac
    done < <(sed -n 's/^ *# *include *[<"]\([^>"]*\)[>"].*/\1/p' "$file")
done < <(find src -name '*.?pp' | sort)

# No header includes itself back through another.
cycles=$(
    for header in $(cd include && find kombu -name '*.?pp') $(cd src && find . -name '*.hpp' -printf '%P\n'); do
        directory=include
        [ -f "include/$header" ] || directory=src
        echo "$header $header"
        sed -n 's/^ *# *include *[<"]\([^>"]*\)[>"].*/\1/p' "$directory/$header" | while IFS= read -r included; do
            [ ! -f "include/$included" ] && [ ! -f "src/$included" ] || echo "$header $included"
        done
    done | tsort 2>&1 >/dev/null || true
)
[ -z "$cycles" ] || problem "headers include each other in a circle:"$'\n'"$cycles"

# Each public header by itself; the internal ones are compiled through them. Behind a static variable with a destructor,
# which has the compiler declare symbols of the C++ ABI.
flags=(-std=c++20 -Iinclude -DKOMBU_POOL_COMPILED -Wall -Wextra -Werror)
for directory in "$@"; do [ -z "$directory" ] || [ "$directory" = /usr/include ] || flags+=(-isystem "$directory"); done
compile_alone() {
    local header=$1 dependencies reached
    dependencies=$(mktemp)
    printf '%s\n' 'struct Before { ~Before() {} };' 'inline void before() { static Before before; }' "#include \"$PWD/$header\"" |
        "$compiler" "${flags[@]}" -fsyntax-only -MD -MF "$dependencies" -x c++ - || {
        echo "$header does not compile by itself"
        return 1
    }
    case $header in include/kombu/asio*) return ;; esac
    reached=$(tr ' ' '\n' <"$dependencies" | grep -E '/(boost|hiredis|openssl|rabbitmq-c)/|/(amqp[a-z_]*|zlib)\.h$' || true)
    rm -f "$dependencies"
    [ -z "$reached" ] || { echo "$header reaches $reached"; return 1; }
}
alone() {
    local header
    for header in "$@"; do compile_alone "$header" || echo "failed: $header"; done
}
mapfile -t headers < <(find include -name '*.hpp' -not -path '*/detail/*' | sort)
half=$((${#headers[@]} / 2))
results=$(alone "${headers[@]:0:half}" & alone "${headers[@]:half}"; wait)
[ -z "$results" ] || problem "$results"
# Without kombu::kombu, whose programs have the pool's functions compiled.
echo '#include <kombu/pool/async.hpp>' | "$compiler" "${flags[@]}" -UKOMBU_POOL_COMPILED -fsyntax-only -x c++ - ||
    problem "kombu::pool does not compile header-only"

[ "$problems" = 0 ] || exit 1
echo "layering: every file includes only its own floor and lower ones"
