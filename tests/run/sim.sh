#!/usr/bin/env bash
# The simulation under AddressSanitizer and UndefinedBehaviorSanitizer.
#   sim.sh [SEED ...]             a fixed set of seeds and a fresh one, or the seeds named
#   sim.sh --seeds N [--jobs J]   N fresh seeds, J at a time (as many as there are processors), up to the first that fails
# SIM_TRACE=1 shows every event of a run, not only the last ones before a failure.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PROGRESS_S=10 # how often a long run says how far it is

usage() {
    echo "sim.sh: $1; it takes seeds, or --seeds N [--jobs J]" >&2
    exit 2
}

many='' jobs=$(nproc) seeds=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seeds | --jobs)
        [[ ${2:-} =~ ^[1-9][0-9]{0,6}$ ]] || usage "$1 needs a number"
        if [ "$1" = --seeds ]; then many=$2; else jobs=$2; fi
        shift
        ;;
    *)
        [[ $1 =~ ^[0-9]+$ ]] || usage "\"$1\" is no seed"
        seeds+=("$1")
        ;;
    esac
    shift
done
[ -z "$many" ] || [ ${#seeds[@]} -eq 0 ] || usage "seeds are either fresh or named"

[ -f build-dev/build.ninja ] || ./dev build-dev
ninja -C build-dev --quiet tests/sim/sim
fresh=$(($(date +%s%N) / 1000 % 1000000000))

run_named() {
    local seed passed=0 failed=0
    for seed; do
        if build-dev/tests/sim/sim "$seed"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "sim: ./dev sim $seed does it again" >&2
        fi
    done
    counts "$passed" "$failed"
}

# One of many: a line in `passed`, or what it said in a file of its own, at which xargs stops.
run_one() { # folder, seed
    if "$1/sim" "$2" > "$1/said.$2" 2>&1; then
        sed -n 's/^seed [0-9]*: \([0-9]*\) steps,.*/\1/p' "$1/said.$2" >> "$1/passed"
        rm "$1/said.$2"
    else
        echo "$2" >> "$1/failed"
        exit 255
    fi
}
export -f run_one

say_rate() { # folder, when it began
    local took=$(($(date +%s%3N) - $2))
    awk -v s="$((took > 0 ? took : 1))e-3" '{ n += $1 } END { printf "sim: %d seeds, %d steps in %d s: %.1f seeds and %d steps a second\n", NR, n, s, NR / s, n / s }' "$1/passed"
}

run_many() {
    local folder began pid i seed
    folder=$(mktemp -d)
    began=$(date +%s%3N)
    cp build-dev/tests/sim/sim "$folder/sim" # what is built meanwhile is not what is run
    touch "$folder/passed" "$folder/failed"
    echo "fresh seeds: $fresh to $((fresh + many - 1)), $jobs at a time"
    seq "$fresh" $((fresh + many - 1)) | xargs -P "$jobs" -I SEED bash -c 'run_one "$0" SEED' "$folder" 2> /dev/null &
    pid=$!
    # shellcheck disable=SC2064
    trap "kill $pid 2> /dev/null || true; rm -rf '$folder'" EXIT
    for ((i = 1; ; i++)); do
        kill -0 "$pid" 2> /dev/null || break
        ((i % PROGRESS_S)) || say_rate "$folder" "$began"
        sleep 1
    done
    wait "$pid" || true
    while read -r seed; do
        cat "$folder/said.$seed" >&2
        echo "sim: ./dev sim $seed does it again" >&2
    done < "$folder/failed"
    say_rate "$folder" "$began"
    counts "$(wc -l < "$folder/passed")" "$(wc -l < "$folder/failed")"
}

if [ -n "$many" ]; then
    run_many
elif [ ${#seeds[@]} -gt 0 ]; then
    run_named "${seeds[@]}"
else
    echo "fresh seed: $fresh"
    mapfile -t seeds < <(seq 1 40; printf "%s\n" 9000 114562079 344253792 930001689 930001826 940001400 "$fresh")
    run_named "${seeds[@]}"
fi
