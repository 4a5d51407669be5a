#!/usr/bin/env bash
# The unit tests, under AddressSanitizer and UndefinedBehaviorSanitizer.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

log=build-dev/meson-logs/testlog.json
rm -f "$log"
status=0
meson test -C build-dev --no-rebuild --print-errorlogs "$@" || status=$?
need_file "$log"

# One line of TAP per test; a program that fails without saying which test it was counts as one more.
read -r passed failed < <(python3 - "$log" <<'PY'
import json
import re
import sys

passed = failed = 0
for line in open(sys.argv[1]):
    program = json.loads(line)
    said = program.get("stdout", "") + "\n" + program.get("stderr", "")
    ok = len(re.findall(r"^ok \d+", said, re.M))
    not_ok = len(re.findall(r"^not ok \d+", said, re.M))
    if program["result"] != "OK" and not_ok == 0 or ok + not_ok == 0:
        not_ok += 1
    passed += ok
    failed += not_ok
print(passed, failed)
PY
)
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed=1
fi
counts "$passed" "$failed"
