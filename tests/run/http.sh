#!/usr/bin/env bash
# The contract, against build/bowline, with clients that others wrote: http.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_file build/bowline tests/package-lock.json
if [ ! -d tests/node_modules ] || [ tests/package-lock.json -nt tests/node_modules/.package-lock.json ]; then
    npm ci --prefix tests --no-audit --no-fund --silent
fi
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/http/*.test.mjs)
fi
need_file "${files[@]}"

tap=$(mktemp)
trap 'rm -f "$tap"' EXIT
status=0
node --test --test-reporter=spec --test-reporter-destination=stdout --test-reporter=tap --test-reporter-destination="$tap" "${files[@]}" || status=$?

count() { # name of a line at the end of the TAP text
    awk -v name="$1" '$1 == "#" && $2 == name { n = $3 } END { print n + 0 }' "$tap"
}
passed=$(count pass) failed=$(($(count fail) + $(count cancelled)))
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed=1
fi
counts "$passed" "$failed"
