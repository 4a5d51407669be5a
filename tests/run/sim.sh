#!/usr/bin/env bash
# The simulation under AddressSanitizer and UndefinedBehaviorSanitizer: a fixed set of seeds and a fresh one, or the seeds named: sim.sh [SEED ...]
# SIM_TRACE=1 shows every event of a run, not only the last ones before a failure.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -f build-dev/build.ninja ] || ./dev build-dev
ninja -C build-dev --quiet tests/sim/sim

seeds=("$@")
if [ ${#seeds[@]} -eq 0 ]; then
    fresh=$(($(date +%s%N) / 1000 % 1000000000))
    echo "fresh seed: $fresh"
    mapfile -t seeds < <(seq 1 40; echo 9000; echo "$fresh")
fi

passed=0 failed=0
for seed in "${seeds[@]}"; do
    if build-dev/tests/sim/sim "$seed"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "sim: ./dev sim $seed does it again" >&2
    fi
done
counts "$passed" "$failed"
