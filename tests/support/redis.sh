#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Redis servers for tests: loopback only, own data, stopped with `stop`.
#
#   redis.sh fixture DIR PORT               the servers for most tests; certificates in DIR/certs:
#                                           PORT: with a unix socket (DIR/plain/redis.sock), and with TLS on PORT+1
#                                           PORT+2: with passwords
#                                           PORT+3: with TLS, requires client certificates
#                                           PORT+4: with TLS, has a certificate for another host
#   redis.sh sentinels DIR PORT             a master on PORT, a replica on PORT+1, three sentinels on PORT+2 to PORT+4
#   redis.sh start DIR NAME PORT [OPTION...]  one more server; returns when it replies, even with LOADING
#   redis.sh kill DIR NAME                  SIGKILL; redis.sh pause|resume DIR NAME: SIGSTOP, SIGCONT
#   redis.sh stop DIR                       stops all servers of DIR and deletes it
#
# The server with passwords has `requirepass kombu-secret` and the user `worker` with the password `worker-secret`.
set -euo pipefail
trap '' PIPE  # a server that ends may reset the connection that `answers` writes to

action=${1:?action} dir=${2:?directory} here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "redis.sh: $*" >&2; exit 1; }
command -v redis-server >/dev/null || fail "redis-server is not installed"

# A pid counts only while its process runs in this directory: pids are reused.
pid_of() {
    local pid
    pid=$(cat "$dir/$1/pid" 2>/dev/null) && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$dir/$1" ] && echo "$pid"
}

threads_of() { find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l || true; }

end() {
    local pid; pid=$(pid_of "$1") || return 0
    kill -KILL "$pid" 2>/dev/null || true
    # An ended process that was not reaped has no working directory. Its port is open until its last thread has ended.
    for _ in $(seq 400); do
        if ! pid_of "$1" >/dev/null && [ "$(threads_of "$pid")" -le 1 ]; then return 0; fi
        sleep 0.01
    done
    ! pid_of "$1" >/dev/null || fail "process $pid does not end"
}

answers() {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'PING\r\n' >&3
    local answer
    IFS= read -r -t 5 answer <&3 || true
    exec 3>&-
    case $answer in +PONG* | -NOAUTH* | -LOADING* | -MASTERDOWN*) return 0 ;; esac
    return 1
}

wait_for() {
    local _
    for _ in $(seq 500); do
        if answers "$1" 2>/dev/null; then return 0; fi
        sleep 0.02
    done
    fail "nothing answers on port $1"
}

# start NAME PORT OPTION...: options of redis-server, such as `--requirepass TEXT`.
start() {
    local name=$1 port=$2; shift 2
    end "$name"
    mkdir -p "$dir/$name"
    cd "$dir/$name"
    setsid redis-server --port "$port" --bind 127.0.0.1 --dir "$dir/$name" --daemonize no --save '' --appendonly no \
        --enable-debug-command local --unixsocket "$dir/$name/redis.sock" "$@" >out 2>&1 </dev/null &
    echo $! >pid
    wait_for "$port"
    pid_of "$name" >/dev/null || fail "another server has port $port: $(tail -n 1 out)"
}

tls() { echo --tls-port "$1" --tls-cert-file "$dir/certs/$2.pem" --tls-key-file "$dir/certs/$2.key" --tls-ca-cert-file "$dir/certs/ca.pem"; }

fixture() {
    local port=$1
    "$here/certs.sh" "$dir/certs"
    # shellcheck disable=SC2046
    start plain "$port" $(tls $((port + 1)) server) --tls-auth-clients no
    start guarded $((port + 2)) --requirepass kombu-secret --user worker on '>worker-secret' '~*' '&*' +@all
    # shellcheck disable=SC2046
    start mutual $((port + 5)) $(tls $((port + 3)) server) --tls-auth-clients yes
    # shellcheck disable=SC2046
    start elsewhere $((port + 6)) $(tls $((port + 4)) elsewhere) --tls-auth-clients no
}

sentinels() {
    local port=$1 i name
    start master "$port"
    start replica $((port + 1)) --replicaof 127.0.0.1 "$port"
    for i in 1 2 3; do
        name=sentinel$i
        end $name
        mkdir -p "$dir/$name"
        cd "$dir/$name"
        # A sentinel rewrites its configuration file.
        cat >sentinel.conf <<CONF
port $((port + 1 + i))
bind 127.0.0.1
dir $dir/$name
protected-mode no
requirepass sentinel-secret
sentinel sentinel-pass sentinel-secret
sentinel monitor kombu 127.0.0.1 $port 2
sentinel down-after-milliseconds kombu 500
sentinel failover-timeout kombu 3000
CONF
        setsid redis-server sentinel.conf --sentinel >out 2>&1 </dev/null &
        echo $! >pid
        wait_for $((port + 1 + i))
    done
    for _ in $(seq 500); do
        if redis-cli --no-auth-warning -a sentinel-secret -p $((port + 2)) info sentinel 2>/dev/null | grep -q 'slaves=1,sentinels=3'; then return 0; fi
        sleep 0.02
    done
    fail "the sentinels do not find each other"
}

case $action in
    stop)
        [ -d "$dir" ] || exit 0
        dir=$(cd "$dir" && pwd -P)
        for entry in "$dir"/*/; do end "$(basename "$entry")"; done
        rm -rf "$dir"
        exit ;;
esac
mkdir -p "$dir"
dir=$(cd "$dir" && pwd -P)
case $action in
    fixture) fixture "${3:?port}" ;;
    sentinels) sentinels "${3:?port}" ;;
    start) shift 2; start "$@" ;;
    kill) end "${3:?name}" ;;
    pause) kill -STOP "$(pid_of "${3:?name}")" ;;
    resume) kill -CONT "$(pid_of "${3:?name}")" ;;
    *) fail "unknown action $action" ;;
esac
