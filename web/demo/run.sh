#!/usr/bin/env bash
# The demo: a server with the page at /demo/, and a worker that does what the page asks for. Ends with Ctrl-C.
# Either of the two may be killed meanwhile: it is started again, so that one can see what becomes of the work.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bowline=${BOWLINE_BIN:-$root/build/bowline}
data=${XDG_STATE_HOME:-$HOME/.local/state}/bowline-demo
listen=
pace=12
worker_pause=20
server_options=()

usage() {
    cat <<HELP
usage: web/demo/run.sh [options] [-- options for bowline serve]
  --listen ADDR:PORT  where to listen (127.0.0.1:8787, or a free port if that one is taken)
  --data DIR          folder of the store and the key ($data)
  --pace SECONDS      how long a job takes at least (12; 0: as fast as it goes)
HELP
}

die() {
    printf 'demo: %s\n' "$1" >&2
    exit "${2:-1}"
}

while [ $# -gt 0 ]; do
    case $1 in
    --listen | --data | --pace)
        [ $# -ge 2 ] || die "$1 needs a value" 2
        printf -v "${1#--}" '%s' "$2"
        shift 2
        ;;
    --listen=* | --data=* | --pace=*)
        name=${1%%=*}
        printf -v "${name#--}" '%s' "${1#*=}"
        shift
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    --)
        shift
        server_options=("$@")
        break
        ;;
    *)
        usage >&2
        die "unknown option $1" 2
        ;;
    esac
done

[ -x "$bowline" ] || die "there is no $bowline yet; ./dev build makes it"
command -v node >/dev/null || die "the demo's worker needs Node.js 18 or newer (apt-get install nodejs)"
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || die "the demo's worker needs Node.js 18 or newer, not $(node --version)"

taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

if [ -z "$listen" ]; then
    listen=127.0.0.1:8787
    if taken 8787; then
        printf 'demo: port 8787 is taken, another one is used\n'
        listen=127.0.0.1:0
    fi
fi

kind='{"queue":"demo","lease":15,"max_attempts":3,"on_session_end":"cancel"}'
server_pid=
worker_pid=
url=
out=$(mktemp)

# Stops one of ours: asks, waits ten seconds, insists.
stop() {
    local pid=$1
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

finish() {
    trap - EXIT
    trap '' INT TERM HUP
    stop "$worker_pid"
    stop "$server_pid"
    wait || true
    rm -f "$out"
}
trap finish EXIT
trap 'printf "\ndemo: stopping\n"; exit 0' INT TERM HUP

start_server() {
    : >"$out"
    "$bowline" serve --data "$data" --listen "$listen" --open-sessions --session-kinds "{\"checksum\":$kind,\"compress\":$kind}" \
        --demo "$root/web/demo" "${server_options[@]}" >"$out" </dev/null &
    server_pid=$!
    for _ in $(seq 200); do
        url=$(sed -n 's/^bowline .* listening on \(http:.*\)$/\1/p' "$out")
        if [ -n "$url" ] && [ "$(node -e 'fetch(process.argv[1]).then(a => console.log(a.status), () => {})' "$url/readyz")" = 200 ]; then
            listen=${url#http://}
            disown "$server_pid" # so that bash does not remark on its end
            return
        fi
        kill -0 "$server_pid" 2>/dev/null || {
            wait "$server_pid" || die "the server did not start (above it says why)" $?
            die "the server stopped at once"
        }
        sleep 0.05
    done
    die "the server is not ready after ten seconds"
}

start_worker() {
    node "$root/web/demo/worker.mjs" --url "$url" --key-file "$data/api.key" --pace "$pace" </dev/null &
    worker_pid=$!
    disown "$worker_pid"
}

welcome() {
    cat <<TEXT

  The demo is at   $url/demo/

  Open it, start a job, and then
    refresh, open a second tab, open a private window;
    kill -9 $worker_pid   the worker: its silence is shown, then the job is tried again (a new worker comes after $worker_pause s);
    kill -9 $server_pid   the server: it is started again at once, and the page reads on where it stopped.
  Data is in $data. Ctrl-C ends both.

TEXT
}

mkdir -p "$data"
set -m # each in a process group of its own, so that Ctrl-C comes here and the worker is stopped first
start_server
start_worker
welcome

server_started=$SECONDS
worker_due=0
while :; do
    sleep 0.5 &
    wait $! || true
    if ! kill -0 "$server_pid" 2>/dev/null; then
        [ $((SECONDS - server_started)) -ge 2 ] || die "the server keeps stopping"
        printf 'demo: the server is gone; starting it again\n'
        server_started=$SECONDS
        start_server
        printf 'demo: the server is back (pid %s)\n' "$server_pid"
    fi
    if [ "$worker_due" -eq 0 ] && ! kill -0 "$worker_pid" 2>/dev/null; then
        printf 'demo: the worker is gone; another one starts in %s s, after the lease of 15 s\n' "$worker_pause"
        worker_pid=
        worker_due=$((SECONDS + worker_pause))
    elif [ "$worker_due" -gt 0 ] && [ "$SECONDS" -ge "$worker_due" ]; then
        worker_due=0
        start_worker
        printf 'demo: a new worker is there (pid %s)\n' "$worker_pid"
    fi
done
