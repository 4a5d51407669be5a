#!/usr/bin/env bash
# The module for browsers, in Node: sdk.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/sdk/*.test.mjs)
fi
run_node_tests "${files[@]}"
