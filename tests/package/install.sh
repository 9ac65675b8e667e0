#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs the library, shared and static, each to a prefix of its own; builds another project against it, with CMake and
# with pkg-config, and runs that.
#
#   install.sh ROOT WORK-DIRECTORY
set -euo pipefail
root=${1:?} work=${2:?}

# install_and_use shared|static: both have the same object files, so the second links only.
install_and_use() {
    local kind=$1 shared=OFF prefix=$work/$1/prefix consumer=$work/$1/consumer
    [ "$kind" = static ] || shared=ON
    cmake -S "$root" -B "$work/build" -G Ninja -DBUILD_SHARED_LIBS=$shared -DKOMBU_CCACHE=ON \
        -DKOMBU_BUILD_BENCHMARKS=OFF -DKOMBU_BUILD_TOOLS=ON -DKOMBU_BUILD_METRICS=ON -DKOMBU_BUILD_STATUS=ON >/dev/null
    cmake --build "$work/build" --parallel 2
    rm -rf "$prefix" "$consumer"
    cmake --install "$work/build" --prefix "$prefix" >/dev/null

    cmake -S "$root/tests/package/consumer" -B "$consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DEXPECT_ADDONS=ON >/dev/null
    cmake --build "$consumer" --parallel 2
    "$consumer/app"
    "$consumer/pool_only"
    "$consumer/asio_app"
    "$consumer/service"
    find_components "$prefix"
    use_pkg_config "$kind" "$prefix" "$consumer"
    [ "$kind" = static ] || check_symbols "$prefix" "$consumer"
    check_command "$prefix"
    echo "installed, found and used: $kind"
}

# A component comes with what it needs; one that is not asked for needs nothing.
find_components() {
    local project=$work/components
    mkdir -p "$project"
    cat >"$project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.24)
project(components LANGUAGES CXX)
if(NOT asked_for STREQUAL "nothing")
    set(components COMPONENTS ${asked_for})
endif()
find_package(kombu CONFIG REQUIRED ${components})
foreach(addon IN ITEMS metrics status)
    if(TARGET kombu::${addon})
        list(APPEND found ${addon})
    endif()
endforeach()
if(NOT "${found}" STREQUAL "${expected}")
    message(FATAL_ERROR "asked for ${asked_for}, found '${found}' instead of '${expected}'")
endif()
END
    for case in nothing: metrics:metrics "status:metrics;status" "metrics;status:metrics;status"; do
        cmake -S "$project" -B "$project/build" -DCMAKE_PREFIX_PATH="$1" -Dasked_for="${case%%:*}" \
            -Dexpected="${case#*:}" >/dev/null
    done
}

use_pkg_config() {
    local kind=$1 prefix=$2 consumer=$3 static=() flags
    [ "$kind" = shared ] || static=(--static)
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name kombu.pc)")
    export PKG_CONFIG_PATH
    read -ra flags <<<"$(pkg-config "${static[@]}" --cflags --libs kombu)"
    c++ -std=c++20 "$root/tests/package/consumer/app.cpp" "${flags[@]}" "-Wl,-rpath,$(pkg-config --variable=libdir kombu)" \
        -o "$consumer/app_by_pkg_config"
    "$consumer/app_by_pkg_config"
    [ "$kind" = shared ] || return 0  # one compile of the pool alone is enough
    read -ra flags <<<"$(pkg-config --cflags --libs kombu-pool)"
    c++ -std=c++20 "$root/tests/package/consumer/pool_only.cpp" "${flags[@]}" -o "$consumer/pool_by_pkg_config"
    "$consumer/pool_by_pkg_config"
}

# The command finds the library beside it.
check_command() {
    local prefix=$1
    "$prefix/bin/kombu" ping memory://x
    for file in man/man1/kombu.1 bash-completion/completions/kombu zsh/site-functions/_kombu \
        fish/vendor_completions.d/kombu.fish; do
        [ -s "$prefix/share/$file" ] || { echo "$file is not installed"; exit 1; }
    done
}

# What the library defines for others is its own: nothing of its dependencies, and none of its internals.
check_symbols() {
    local prefix=$1 consumer=$2 exported unique foreign of_library of_app
    exported=$(nm -D --defined-only --demangle "$(find "$prefix" -name libkombu.so)" | awk '$2 ~ /[TDBR]/')
    grep -q 'kombu::pools::set_limit' <<<"$exported" || { echo "the library exports nothing"; exit 1; }
    # Acquire is inlined into programs, release is not: both must see the same thread_local.
    unique=$(nm -D --defined-only --demangle "$(find "$prefix" -name libkombu.so)" | awk '$2 ~ /[uVWB]/')
    grep -q 'kombu::detail::thread_cache' <<<"$unique" || { echo "thread_cache is not exported"; exit 1; }
    foreign=$(grep -E ' (boost::|amqp_|kombu::(amqp|redis|memory|net|routing|envelope|json_text|base64)::)' <<<"$exported" || true)
    [ -z "$foreign" ] || { echo "exported by mistake: $foreign"; exit 1; }
    # Asio is in the programs that include it: neither the library nor other programs link anything for it.
    of_library=$(needed "$(find "$prefix" -name libkombu.so)") of_app=$(needed "$consumer/app")
    local libraries="libboost_url libbrotlidec libbrotlienc libbz2 libcrypto libhiredis liblzma librabbitmq libssl"
    [ "$of_library" = "$libraries libyaml-cpp libz libzstd " ] || { echo "the library links $of_library"; exit 1; }
    [ "$of_app" = "libkombu " ] || { echo "a program without Asio links $of_app"; exit 1; }
}
needed() {
    readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(lib[a-z0-9_-]*[a-z0-9_]\)[-.0-9]*\.so.*/\1/p' | grep -vxE 'libc|libm|libgcc_s' | sort | tr '\n' ' '
}

install_and_use shared
install_and_use static
