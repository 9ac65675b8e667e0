#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Loads libkombu.so and eight plugins with hidden pools at run time: from a bare C program, and from Python.
#
#   dlopen.sh HOST LIBRARY PLUGIN WORK-DIRECTORY
set -euo pipefail
host=${1:?} library=${2:?} plugin=${3:?} work=${4:?}
mkdir -p "$work"
plugins=()
for number in 1 2 3 4 5 6 7 8; do
    cp -f "$plugin" "$work/plugin$number.so"
    plugins+=("$work/plugin$number.so")
done
"$host" "$library" "${plugins[@]}"
echo "loaded, used and unloaded by a C program"

python3 - "$library" "${plugins[@]}" <<'PYTHON'
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
for plugin in map(ctypes.CDLL, sys.argv[2:]):
    assert plugin.use_pool() == 0
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("loaded and used by Python")
PYTHON

size=$(($(readelf -lW "$library" | awk '$1 == "TLS" {print $6}')))
[ "$size" -le 256 ] || { echo "the library has $size bytes of thread-local variables; dlopen has some 500 for all"; exit 1; }
echo "thread-local variables of the library: $size bytes"
