#!/usr/bin/env bash
# Suites of tests/http again, with the program under ThreadSanitizer and the engine on a thread of its own, where the other stages have it in the loop on two
# processors: races.sh [FILE ...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -f build-tsan/bowline ] || ./dev build-tsan
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    files=(tests/http/{durability,feed,idempotency,one-cursor,output,protocol,queues,reports,sessions,storm,tasks,watch-ways}.test.mjs)
fi
export BOWLINE_BIN=build-tsan/bowline TEST_LOOPS=${TEST_LOOPS:-2} TSAN_OPTIONS=halt_on_error=1:exitcode=66
at_once=4 under=
! setarch -R true 2> /dev/null || under='setarch -R' # its memory has fixed places, which some kernels take for other things
run_node_tests "${files[@]}"
