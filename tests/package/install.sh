#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs the library to a prefix of its own, builds another project against it and runs that.
#
#   install.sh ROOT WORK-DIRECTORY shared|static
set -euo pipefail
root=${1:?} work=${2:?} kind=${3:?shared or static}
shared=OFF
[ "$kind" = static ] || shared=ON
launcher=()
! command -v ccache >/dev/null || launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=$shared -DKOMBU_BUILD_TESTS=OFF \
    -DKOMBU_BUILD_EXAMPLES=OFF "${launcher[@]}" >/dev/null
cmake --build "$work/build" --parallel 2
rm -rf "$work/prefix" "$work/consumer"
cmake --install "$work/build" --prefix "$work/prefix" >/dev/null

cmake -S "$root/tests/package/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" "${launcher[@]}" >/dev/null
cmake --build "$work/consumer" --parallel 2
"$work/consumer/app"
"$work/consumer/pool_only"
"$work/consumer/asio_app"

if [ "$kind" = shared ]; then
    # The library exports only its own API: no symbols of its dependencies, and none of its internals.
    exported=$(nm -D --defined-only --demangle "$(find "$work/prefix" -name libkombu.so)" | awk '$2 ~ /[TDBR]/')
    grep -q 'kombu::pools::set_limit' <<<"$exported" || { echo "the library exports nothing"; exit 1; }
    foreign=$(grep -E ' (boost::|amqp_|kombu::(amqp|redis|memory|net|routing|envelope|json_text|base64)::)' <<<"$exported" || true)
    [ -z "$foreign" ] || { echo "exported by mistake: $foreign"; exit 1; }
    # Asio is compiled into the programs that include it: the library and other programs link nothing for it.
    needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(lib[a-z_]*\)\.so.*/\1/p' | grep -vxE 'libc|libm|libgcc_s' | sort | tr '\n' ' '; }
    of_library=$(needed "$(find "$work/prefix" -name libkombu.so)") of_app=$(needed "$work/consumer/app")
    [ "$of_library" = "libboost_url libcrypto librabbitmq libssl libz " ] || { echo "the library links $of_library"; exit 1; }
    [ "$of_app" = "libkombu " ] || { echo "a program without Asio links $of_app"; exit 1; }
fi
echo "installed, found and used: $kind"
