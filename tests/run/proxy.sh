#!/usr/bin/env bash
# The configurations of docs/proxies.md, in the programs that they are for: proxy.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/proxy/*.test.mjs)
fi
at_once=1 run_node_tests "${files[@]}"
