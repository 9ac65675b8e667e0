#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds the library as a part of another project, by add_subdirectory and by FetchContent, and runs that. Another
# project that installs itself does not install the library.
#
#   embedded.sh ROOT WORK-DIRECTORY
set -euo pipefail
root=${1:?} work=${2:?}

# build_within NAME CMAKE-ARGUMENT...
build_within() {
    local build=$work/$1
    rm -rf "$build"
    cmake -S "$root/tests/package/embedded" -B "$build" -G Ninja "${@:2}" >/dev/null
    cmake --build "$build" --parallel 2 --target app pool_only
    "$build/app"
    "$build/pool_only"
    cmake --install "$build" --prefix "$build/prefix" >/dev/null
    [ ! -e "$build/prefix" ] || { echo "installed by mistake: $(find "$build/prefix" -type f | head -3)"; exit 1; }
    echo "built within another project: $1"
}

# With what a user may have to reach for: the sources alone, without tests and documentation.
archive=$work/kombu-cpp.tar.gz
mkdir -p "$work"
(cd "$root" && tar -czf "$archive" CMakeLists.txt LICENSE cmake include src addons)

launcher=()
ccache=$(command -v ccache || true)
[ -z "$ccache" ] || launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER="$ccache")
build_within add_subdirectory -DKOMBU_SOURCE="$root" "${launcher[@]}"
CCACHE_BASEDIR=$work build_within fetch_content -DKOMBU_ARCHIVE="$archive" "${launcher[@]}"

# A project that wants it shared, and installed with itself.
cmake -S "$root/tests/package/embedded" -B "$work/shared" -G Ninja -DKOMBU_SOURCE="$root" -DKOMBU_INSTALL=ON \
    -DBUILD_SHARED_LIBS=ON -DEXPECTED_KIND=SHARED_LIBRARY "${launcher[@]}" >/dev/null
cmake --build "$work/shared" --parallel 2
cmake --install "$work/shared" --prefix "$work/shared/prefix" >/dev/null
[ -e "$(find "$work/shared/prefix" -name libkombu.so)" ] || { echo "the library was not installed"; exit 1; }
echo "built within another project: shared, installed"
