#!/usr/bin/env bash
# Each fuzzer over its corpus and then on inputs of its own for some seconds: fuzz.sh [SECONDS] [NAME ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

seconds=${1:-5}
[ $# -gt 0 ] && shift
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_*.c; do
        name=${file##*/fuzz_}
        names+=("${name%.c}")
    done
fi
[ -d build-fuzz ] || CC=clang CXX=clang++ meson setup build-fuzz --buildtype=debugoptimized -Dfuzz=true -Db_lundef=false > /dev/null
ninja -C build-fuzz --quiet

passed=0 failed=0
for name in "${names[@]}"; do
    found=build-fuzz/corpus/$name output=build-fuzz/$name.log
    mkdir -p "$found"
    need_file "build-fuzz/tests/fuzz/fuzz_$name" "tests/fuzz/corpus/$name"
    if "build-fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build-fuzz/$name-" \
        "$found" "tests/fuzz/corpus/$name" > "$output" 2>&1; then
        passed=$((passed + 1))
        echo "fuzz $name: $(awk '/number_of_executed_units/ { print $2 }' "$output") inputs, none wrong"
    else
        failed=$((failed + 1))
        echo "fuzz $name: failed" >&2
        tail -40 "$output" >&2
    fi
done
counts "$passed" "$failed"
