#!/usr/bin/env bash
# What a reader of the code relies on: its form (./dev fmt), what analysers say of it (./dev lint), the rooms, the map and the documents (tests/tidy): tidy.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

files=("$@") passed=0 failed=0
check() { # a command of ./dev, as one test
    if ./dev "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/tidy/*.test.mjs)
    check fmt --check
    check lint
fi
own=$(mktemp)
COUNTS=$own run_node_tests "${files[@]}" || true
read -r p f < "$own" || true
rm -f "$own"
counts $((passed + ${p:-0})) $((failed + ${f:-1}))
