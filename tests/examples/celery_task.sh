#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The Celery example, against a live worker.
#
#   celery_task.sh PROGRAM CELERY-PEER URL
set -euo pipefail
program=${1:?} peer=${2:?} url=${3:?}
queue=example.celery.$$
coproc worker { exec /usr/bin/python3 "$peer" "$url" "$queue"; }
read -r -t 30 <&"${worker[0]}" || { echo "the worker did not start"; exit 1; }
# shellcheck disable=SC2154  # coproc assigns worker_PID
trap 'kill -KILL "$worker_PID" 2>/dev/null || true' EXIT
output=$("$program" "$url" tasks.add '[2, 3]' "$queue")
echo "$output"
grep -q 'SUCCESS: \[5,""\]' <<<"$output"
