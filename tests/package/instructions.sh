#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Compares the instructions of each step that users call with the recorded ones, and those of a publish in small and
# large processes. Builds the benchmarks optimised, in the build directory that install.sh has made.
#
#   instructions.sh ROOT WORK-DIRECTORY
set -euo pipefail
root=${1:?} build=${2:?}/build
cmake -S "$root" -B "$build" -G Ninja -DBUILD_SHARED_LIBS=ON -DKOMBU_CCACHE=ON -DKOMBU_BUILD_BENCHMARKS=ON >/dev/null
cmake --build "$build" --parallel 2 --target cycle async_bench publish_bench consume_bench redis_bench growth_bench
"$root/bench/instructions" --check "$build/bench"
"$root/bench/growth" "$build/bench"
