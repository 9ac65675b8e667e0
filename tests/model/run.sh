#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Checks the waiting protocol with SPIN: the protocol has no error, and each broken variant has one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
model=$here/waiting.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# verify NAME DEFINE...: prints SPIN's count of errors.
verify() {
    local name=$1
    shift
    mkdir "$name"
    (cd "$name" && spin "$@" -a "$model" >spin.log && "${CC:-cc}" -O2 -DSAFETY -DCOLLAPSE -w -o pan pan.c &&
        ./pan -m100000 >pan.log 2>&1) || { cat "$name"/*.log; exit 1; }
    ! grep -q 'max search depth too small' "$name/pan.log" || { echo "$name: the search was cut off"; exit 1; }
    sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$name/pan.log"
}

[ "$(verify right)" = 0 ] || { echo "the protocol is wrong:"; cat right/pan.log; exit 1; }
echo "right: $(sed -n 's/ *\([0-9e+.]*\) states, stored.*/\1/p' right/pan.log) states, no error"
for broken in NO_FENCE NO_RESCAN LATE_RESET NO_PASSING; do
    [ "$(verify "$broken" "-D$broken")" != 0 ] || { echo "$broken: the model does not notice"; exit 1; }
    echo "$broken: noticed"
done

model=$here/unresponsive_waiter.pml
[ "$(verify unresponsive -DTHREADS=2)" = 0 ] ||
    { echo "a waiter that does not run stops others:"; cat unresponsive/pan.log; exit 1; }
echo "a waiter that does not run: no error"
for broken in NOTIFY_ALL NO_SERVING; do
    [ "$(verify "$broken" -DTHREADS=2 "-D$broken")" != 0 ] || { echo "$broken: the model does not notice"; exit 1; }
    echo "$broken: noticed"
done

model=$here/interrupted_producer.pml
[ "$(verify interrupted)" = 0 ] ||
    { echo "an interrupt of a producer is wrong:"; cat interrupted/pan.log; exit 1; }
echo "an interrupt of a producer: no error"
for broken in NO_FENCE NO_WAIT NO_LOOK; do
    [ "$(verify "interrupted_$broken" "-D$broken")" != 0 ] || { echo "$broken: the model does not notice"; exit 1; }
    echo "$broken: noticed"
done
