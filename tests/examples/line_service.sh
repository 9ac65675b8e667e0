#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Sends lines to examples/line_service and ends it by SIGTERM while a line is pending.
#
#   line_service.sh PROGRAM [URL]
set -euo pipefail
program=${1:?} url=${2:-memory://lines}
output=$(mktemp)
"$program" 0 "$url" >"$output" &
service=$!
trap 'kill -9 $service 2>/dev/null || true; rm -f "$output"' EXIT
fail() { echo "line_service: $*" >&2; cat "$output" >&2; exit 1; }

port=
for _ in {1..500}; do
    port=$(sed -n 's/^listening on port //p' "$output")
    [ -z "$port" ] || break
    kill -0 "$service" || fail "did not start"
    read -r -t 0.02 <> <(:) || true
done
[ -n "$port" ] || fail "does not listen"

exec 3<>"/dev/tcp/127.0.0.1/$port"
answer() { read -r -t 20 -u 3 line || fail "no answer to $1"; [ "$line" = ok ] || fail "$1: $line"; }
printf 'one\ntwo\n' >&3
answer one
answer two
printf 'three\n' >&3
kill -TERM "$service"
answer three
status=0
wait "$service" || status=$?
[ "$status" = 0 ] || fail "ended with $status"
grep -qx 'published 3 lines' "$output" || fail "did not publish all lines"
