# For the scripts beside it. Each stage of ./dev test is one of them: it prints what it does, leaves "PASSED FAILED" in the file $COUNTS,
# and exits non-zero when something failed.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

counts() { # passed, failed
    if [ -n "${COUNTS:-}" ]; then
        echo "$1 $2" > "$COUNTS"
    fi
    echo "-- $1 passed, $2 failed"
    [ "$2" -eq 0 ] && [ "$1" -gt 0 ]
}

need_file() {
    for file; do
        [ -e "$file" ] || { echo "$file is missing" >&2; exit 1; }
    done
}

install_node_modules() {
    need_file tests/package-lock.json
    if [ ! -d tests/node_modules ] || [ tests/package-lock.json -nt tests/node_modules/.package-lock.json ]; then
        npm ci --prefix tests --no-audit --no-fund --silent
    fi
}

run_node_tests() { # files; at_once: how many of them at a time, under: a command that runs them, longest: seconds, so that a file that hangs fails
    local tap status=0 passed failed
    need_file "$@"
    install_node_modules
    tap=$(mktemp)
    timeout --kill-after=30 "${longest:-1800}" ${under:-} node --test --test-concurrency="${at_once:-3}" --test-reporter=spec --test-reporter-destination=stdout --test-reporter=tap --test-reporter-destination="$tap" "$@" || status=$?
    passed=$(tap_count pass "$tap") failed=$(($(tap_count fail "$tap") + $(tap_count cancelled "$tap")))
    rm -f "$tap"
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    counts "$passed" "$failed"
}

tap_count() { # name of a line at the end of the TAP text, file
    awk -v name="$1" '$1 == "#" && $2 == name { n = $3 } END { print n + 0 }' "$2"
}
