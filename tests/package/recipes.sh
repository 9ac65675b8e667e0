#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds the packages of Conan and of vcpkg from the recipes in packaging/, with all features, and another project against
# each. Debian's libraries stand for the dependencies (stand_ins.py), so that no network is needed.
#
# Needs conan 2, VCPKG_ROOT, patchelf and zip; not a part of scripts/test for that reason, which only compares the recipes
# with the project (recipes_test.py).
#
#   recipes.sh ROOT WORK-DIRECTORY
set -euo pipefail
root=${1:?} work=${2:?}
: "${VCPKG_ROOT:?must be the folder of vcpkg}"

rm -rf "$work"
mkdir -p "$work"
"$root/tests/package/stand_ins.py" conan "$work/conan"
"$root/tests/package/stand_ins.py" vcpkg "$work/vcpkg"

export CONAN_HOME=$work/conan-home
conan profile detect >/dev/null
sed -i 's/compiler.cppstd=.*/compiler.cppstd=20/' "$CONAN_HOME/profiles/default"
for recipe in "$work"/conan/*/; do conan create "$recipe" >/dev/null 2>&1; done
features=()
for feature in with_brotli with_bzip2 with_lzma with_yaml with_zstd metrics status; do
    features+=(-o "&:$feature=True")
done
for shared in True False; do
    conan create "$root/packaging/conan" -tf "" -o "&:shared=$shared" "${features[@]}"
    conan test "$root/packaging/conan/test_package" "$(conan list 'kombu-cpp/*' --format=json |
        python3 -c 'import json, sys; print(*json.load(sys.stdin)["Local Cache"])')" -o "kombu-cpp/*:shared=$shared" \
        "${features[@]/&:/kombu-cpp\/*:}"
done

export VCPKG_FORCE_SYSTEM_BINARIES=1 VCPKG_DISABLE_METRICS=1
"$VCPKG_ROOT/vcpkg" install "kombu-cpp[core,brotli,bzip2,lzma,metrics,status,tools,yaml,zstd]" \
    --overlay-ports="$root/packaging/vcpkg" --overlay-ports="$work/vcpkg" --x-install-root="$work/installed" \
    --binarysource=clear
command=$(find "$work/installed" -path '*/tools/kombu-cpp/kombu')
"$command" ping memory://x
cmake -S "$root/tests/package/consumer" -B "$work/consumer" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_TOOLCHAIN_FILE="$VCPKG_ROOT/scripts/buildsystems/vcpkg.cmake" -DVCPKG_INSTALLED_DIR="$work/installed" \
    -DVCPKG_MANIFEST_MODE=OFF >/dev/null
cmake --build "$work/consumer" --parallel 2
for program in app pool_only asio_app service; do "$work/consumer/$program"; done
echo "made, checked and used: the packages of Conan and of vcpkg"
