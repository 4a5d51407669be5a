#!/usr/bin/env bash
# Measures the optimised program and prints one table: run.sh [MEASUREMENT ...], all of them by default.
# Each measurement has a server of its own with an empty data folder (under TMPDIR) on a free port; nothing but what is started here is stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

all=(life latency idle idle-websocket fanout fanout-nchan unicast bulk storm sweep)
with_peer=(fanout-nchan unicast)
build=${BUILD:-build} # folder of the programs; given: taken as it is
read -r -a more <<< "${OPTIONS:-}" # for the load generator, such as OPTIONS="--runs 5"
read -r -a serve <<< "${SERVE:-}"   # for the server, such as SERVE="--loops 2"
table=() failed=()

say() {
    echo "bench: $*" >&2
}

usage() {
    echo "run.sh [MEASUREMENT ...]: ${all[*]}"
}

cleanup() {
    trap - EXIT INT TERM
    stop_peer
    stop_server
    [ -z "${folder:-}" ] || rm -rf "$folder"
}

wait_line() { # file, pattern, pid: until the file has such a line or the process is gone
    local i
    for ((i = 0; i < 100; i++)); do
        grep -q "$2" "$1" 2> /dev/null && return
        kill -0 "$3" 2> /dev/null || break
        sleep 0.1
    done
    say "it did not start:"
    cat "$1" >&2
    return 1
}

# ---- bowline ----

server=
start_server() { # measurement
    local options=()
    [ "$1" != sweep ] || options=(--tombstone-ttl 2 --idempotency-ttl 12)
    rm -rf "$folder/data" "$folder/server.log" && mkdir -m 700 "$folder/data"
    "$build/bowline" serve --data "$folder/data" --listen 127.0.0.1:0 --max-watchers-per-session 100000 --max-stream-age 3600 "${options[@]}" "${serve[@]}" \
        > "$folder/server.log" 2>&1 &
    server=$!
    wait_line "$folder/server.log" ' listening on ' "$server"
    address=$(sed -n 's|.* listening on http://||p' "$folder/server.log")
}

stop_server() {
    [ -n "$server" ] || return 0
    kill -KILL "$server" 2> /dev/null || true
    wait "$server" 2> /dev/null || true
    server=
}

# ---- nginx with nchan ----

peer=
peer_module=
find_peer() {
    local path
    command -v nginx > /dev/null || PATH=$PATH:/usr/sbin
    for path in /usr/lib/nginx/modules /usr/lib64/nginx/modules /usr/share/nginx/modules; do
        [ ! -f "$path/ngx_nchan_module.so" ] || peer_module=$path/ngx_nchan_module.so
    done
    command -v nginx > /dev/null && [ -n "$peer_module" ] && return
    say "nginx with nchan is not here, the comparison with it is skipped (apt-get install nginx libnginx-mod-nchan)"
    return 1
}

peer_conf() { # port
    cat << CONF
load_module $peer_module;
daemon off;
worker_processes 1;
worker_rlimit_nofile $(ulimit -n);
error_log $folder/nginx/error.log error;
pid $folder/nginx/pid;
events { worker_connections $(($(ulimit -n) - 500)); }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $folder/nginx/body;
    proxy_temp_path $folder/nginx/proxy;
    fastcgi_temp_path $folder/nginx/fastcgi;
    uwsgi_temp_path $folder/nginx/uwsgi;
    scgi_temp_path $folder/nginx/scgi;
    nchan_shared_memory_size 256m;
    server {
        listen 127.0.0.1:$1 backlog=4096;
        location ~ ^/pub/(\w+)$ { nchan_publisher http; nchan_channel_id \$1; nchan_message_buffer_length 100; nchan_message_timeout 30s; }
        location ~ ^/sub/(\w+)$ { nchan_subscriber eventsource; nchan_channel_id \$1; nchan_subscriber_first_message newest; }
    }
}
CONF
}

start_peer() {
    local i
    rm -rf "$folder/nginx" && mkdir "$folder/nginx"
    for ((i = 0; i < 5; i++)); do
        peer_port=$((20000 + RANDOM % 10000))
        peer_conf "$peer_port" > "$folder/nginx/nginx.conf"
        nginx -p "$folder/nginx/" -c "$folder/nginx/nginx.conf" > "$folder/nginx/log" 2>&1 &
        peer=$!
        sleep 0.5
        if kill -0 "$peer" 2> /dev/null; then
            peer_worker=
            read -r peer_worker _ < "/proc/$peer/task/$peer/children" || true # it does not end with a line feed
            [ -z "$peer_worker" ] || return 0
        fi
        stop_peer
    done
    say "nginx did not start:"
    cat "$folder/nginx/log" >&2
    peer=
    return 1
}

stop_peer() {
    [ -n "$peer" ] || return 0
    kill -TERM "$peer" 2> /dev/null || true
    wait "$peer" 2> /dev/null || true
    peer=
}

# ---- one measurement ----

measure() { # name
    local options=() rows
    say "$1"
    start_server "$1"
    if [[ " ${with_peer[*]} " == *" $1 "* ]] && find_peer && start_peer; then
        options=(--peer "127.0.0.1:$peer_port" --peer-pid "$peer_worker")
    elif [ "$1" = fanout-nchan ]; then
        stop_server
        return
    fi
    if ! "$build/bench/bowline-bench" "$1" --server "$address" --pid "$server" --key "$folder/data/api.key" "${options[@]}" "${more[@]}" > "$folder/rows"; then
        failed+=("$1")
        echo "$1"$'\t-\t\tfailed, its figures do not count' > "$folder/rows"
    fi
    stop_peer
    stop_server
    mapfile -t rows < "$folder/rows"
    table+=("${rows[@]}")
}

print_machine() {
    local processor memory
    processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    echo "$(date -u +%F), $(nproc) x ${processor:-processor}, $memory, $(uname -sr), data on $(stat -f -c %T "$folder"), load $(cut -d ' ' -f 1 /proc/loadavg)"
}

print_table() {
    printf '%s\n' "${table[@]}" | awk -F '\t' '
        { rows = NR; for (i = 1; i <= 4; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
        END {
            for (r = 1; r <= rows; r++) {
                printf "%-*s  %*s  %-*s  %s\n", width[1], cell[r, 1], width[2], cell[r, 2], width[3], cell[r, 3], cell[r, 4]
            }
        }'
}

main() {
    local names=("$@") name
    [ ${#names[@]} -gt 0 ] || names=("${all[@]}")
    for name in "${names[@]}"; do
        if [[ " ${all[*]} " != *" $name "* ]]; then
            usage >&2
            exit 2
        fi
    done
    [ "$build" != build ] || ninja -C build bowline bench/bowline-bench > /dev/null
    ulimit -n "$(ulimit -Hn)"
    folder=$(mktemp -d)
    trap cleanup EXIT
    trap "exit 130" INT TERM
    for name in "${names[@]}"; do
        measure "$name"
    done
    print_machine
    print_table
    if [ ${#failed[@]} -gt 0 ]; then
        say "failed: ${failed[*]}"
        exit 1
    fi
}

main "$@"
