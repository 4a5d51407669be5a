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
