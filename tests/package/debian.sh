#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Makes the Debian packages, has lintian check them, installs them on a bare Debian 12, and builds another project against
# them there. Needs root, lintian, debootstrap, and the mirror that apt uses; not a part of scripts/test for that reason.
#
#   debian.sh ROOT WORK-DIRECTORY
set -euo pipefail
root=${1:?} work=${2:?}

cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release -DKOMBU_CCACHE=ON \
    -DKOMBU_BUILD_TOOLS=ON -DKOMBU_BUILD_METRICS=ON -DKOMBU_BUILD_STATUS=ON >/dev/null
cmake --build "$work/build" --parallel 2
rm -rf "$work/packages"
(cd "$work/build" && cpack -G DEB -B "$work/packages" >/dev/null)
packages=("$work"/packages/*.deb)
printf '%s\n' "${packages[@]##*/}"
[ ${#packages[@]} -eq 6 ]

# The packager has no address, there is no bug that asks for a package of Debian, and CPack writes the scripts.
lintian --allow-root --fail-on error,warning --suppress-tags \
    bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs,maintscript-calls-ldconfig \
    "${packages[@]}"

# The mirror of this machine.
mirror=$(apt-cache policy | grep -oE 'https?://[^ ]+' | grep -v security | head -1)
[ -d "$work/debian/usr" ] || debootstrap --variant=minbase bookworm "$work/debian" "$mirror" >/dev/null
mkdir -p "$work/debian/root/packages" "$work/debian/root/consumer"
cp "${packages[@]}" "$work/debian/root/packages"
cp "$root"/tests/package/consumer/* "$work/debian/root/consumer"
cp /etc/resolv.conf "$work/debian/etc/resolv.conf"
# shellcheck disable=SC2016  # the shell within expands them
chroot "$work/debian" sh -ec '
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -q -y --reinstall --no-install-recommends /root/packages/*.deb g++ cmake make pkgconf libboost1.81-dev \
        prometheus-cpp-dev >/dev/null
    kombu ping memory://x
    kombu --version
    rm -rf /root/build
    cmake -S /root/consumer -B /root/build >/dev/null
    cmake --build /root/build --parallel 2 >/dev/null
    for program in app pool_only asio_app service; do /root/build/$program; done
    c++ -std=c++20 /root/consumer/app.cpp $(pkg-config --cflags --libs kombu) -o /root/build/by_pkg_config
    /root/build/by_pkg_config
    dpkg -V libkombu0 libkombu-dev kombu-tools
'
echo "packages made, checked, installed and used"
