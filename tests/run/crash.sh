#!/usr/bin/env bash
# Kills the program again and again under load and compares what it had acknowledged with what is there: crash.sh [ROUNDS]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline tests/crash/crash.mjs
install_node_modules
output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
node tests/crash/crash.mjs "${1:-50}" | tee "$output" || status=$?
read -r passed failed <<< "$(awk '/^[0-9]+ passed, [0-9]+ failed$/ { p = $1; f = $3 } END { print p + 0, f + 0 }' "$output")"
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed=1
fi
counts "$passed" "$failed"
