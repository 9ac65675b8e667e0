#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The service with a status page, looked at and ended by SIGTERM: observed_service.sh SERVICE URL
set -euo pipefail
service=$1 url=$2
out=$(mktemp)
"$service" "$url" 127.0.0.1:0 >"$out" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; cat "$out"; rm -f "$out"' EXIT

# get PATH: prints what the service serves there.
get() { /usr/bin/python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$page$1"; }

for _ in $(seq 200); do
    page=$(sed -n 's/^look at //p' "$out")
    [ -z "$page" ] || break
    sleep 0.05
done
for _ in $(seq 200); do
    handled=$(get metrics | sed -n 's/^kombu_messages_acknowledged_total{.*} //p')
    [ "${handled:-0}" -lt 5 ] || break
    sleep 0.1
done
[ "$handled" -ge 5 ]
[ "$(get healthz | head -1)" = ok ]
get "" | grep "<title>" >/dev/null
get pools.json | grep '"name":"orders@' >/dev/null
kill -TERM "$pid"
wait "$pid"
grep -qE "^[0-9]+ orders handled" "$out"
