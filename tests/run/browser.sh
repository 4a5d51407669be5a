#!/usr/bin/env bash
# The pages, in a real browser: browser.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/browser/*.test.mjs)
fi
run_node_tests "${files[@]}"
