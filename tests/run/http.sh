#!/usr/bin/env bash
# The contract, against build/bowline, with clients that others wrote: http.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/http/*.test.mjs)
fi
run_node_tests "${files[@]}"
