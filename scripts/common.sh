# Functions for the other scripts: run timed steps, install packages, build.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CCACHE_DIR=${CCACHE_DIR:-$root/.cache/ccache}

# step TEXT COMMAND...: runs the command, prints TEXT and the time. Shows its output on failure, or when VERBOSE is set.
step() {
    local text=$1 start=$SECONDS log status=0
    shift
    printf '%s ... ' "$text"
    if [ -n "${VERBOSE:-}" ]; then
        echo
        "$@" || status=$?
    else
        log=$(mktemp)
        "$@" >"$log" 2>&1 || status=$?
    fi
    if [ "$status" -ne 0 ]; then
        echo "FAILED after $((SECONDS - start)) s"
        if [ -n "${log:-}" ]; then cat "$log"; rm -f "$log"; fi
        return "$status"
    fi
    [ -z "${log:-}" ] || rm -f "$log"
    echo "done in $((SECONDS - start)) s"
}

# packages GROUP...: the packages of these groups in scripts/packages.
packages() {
    local group
    for group in "$@"; do
        awk -v group="[$group]" '/^\[/ {on = $0 == group; next} on && !/^#/ && NF' "$root/scripts/packages"
    done
}

install_packages() {
    local missing=() package
    for package in $(packages "$@"); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    step "Installing ${missing[*]}" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        sh -c 'apt-get update -q && apt-get install -q -y --no-install-recommends "$@"' install "${missing[@]}"
}

# build PRESET TARGET...: configures when necessary, and builds.
build() {
    local preset=$1
    shift
    [ -f "$root/build/$preset/build.ninja" ] || step "Configuring $preset" cmake -S "$root" --preset "$preset"
    step "Building $preset" cmake --build "$root/build/$preset" --parallel 2 --target "$@"
}
