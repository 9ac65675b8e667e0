#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The worker example, ended by SIGTERM: worker.sh WORKER URL
set -euo pipefail
worker=$1 url=$2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$worker" "$url" >"$out" 2>&1 &
pid=$!
for _ in $(seq 200); do
    [ "$(grep -c "empty.pdf" "$out")" -lt 3 ] || break
    sleep 0.05
done
kill -TERM "$pid"
wait "$pid"
cat "$out"
grep -q "printing letter.pdf" "$out"
grep -q "handled, .* 2 retried, 1 given up" "$out"
