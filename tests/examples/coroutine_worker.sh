#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The worker with coroutines, ended by SIGTERM: coroutine_worker.sh WORKER URL
set -euo pipefail
worker=$1 url=$2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$worker" "$url" >"$out" 2>&1 &
pid=$!
for _ in $(seq 200); do
    [ "$(grep -c "downloaded" "$out")" -lt 20 ] || break
    sleep 0.05
done
kill -TERM "$pid"
wait "$pid"
cat "$out"
grep -q "21 handled, 20 done, 1 given up" "$out"
