#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A RabbitMQ node for tests: loopback only, own data, own Erlang port mapper, no systemd.
#
#   rabbitmq.sh start DIR PORT    start an empty node in DIR; returns when it speaks AMQP
#   rabbitmq.sh stop DIR PORT     stop it and delete DIR
#   rabbitmq.sh eval DIR PORT E   evaluate an Erlang expression in it
#
# It has the virtual hosts `tests` and `second`, and the user kombu with the password kombu-secret.
set -euo pipefail

action=${1:?start, stop or eval} dir=${2:?directory} port=${3:?port}
epmd_port=$((port + 1)) distribution_port=$((port + 2))
node=kombu-test-$port@localhost

fail() { echo "rabbitmq.sh: $*" >&2; exit 1; }

# A pid counts only while its process runs in this directory: pids are reused.
running() { [ -f "$dir/$1.pid" ] && [ "$(readlink "/proc/$(cat "$dir/$1.pid")/cwd")" = "$dir" ]; }

end() {
    running "$1" || return 0
    local pid; pid=$(cat "$dir/$1.pid")
    kill -KILL "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.05; done
    fail "process $pid does not end"
}

stop() {
    [ -d "$dir" ] || return 0
    dir=$(cd "$dir" && pwd -P)
    end node
    end epmd
    rm -rf "$dir"
}

speaks_amqp() {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf 'AMQP\0\0\011\001' >&3
    local answer
    IFS= LC_ALL=C read -r -t 5 -n 1 -u 3 answer || true
    exec 3>&-
    [ "$answer" = $'\001' ]
}

start() {
    local home; home=$(find /usr/lib/rabbitmq/lib -maxdepth 1 -name 'rabbitmq_server-*' 2>/dev/null | sort | tail -n 1)
    [ -n "$home" ] || fail "rabbitmq-server is not installed"
    stop
    mkdir -p "$dir/home" "$dir/apps"
    dir=$(cd "$dir" && pwd -P)

    # Only the applications that the broker needs: each plug-in directory on the code path slows every module look-up,
    # and the look-ups take most of the start time.
    local app
    for app in amqp10_common aten credentials_obfuscation cuttlefish enough gen_batch_server jsx observer_cli osiris ra rabbit \
               rabbit_common rabbitmq_prelaunch ranch recon seshat stdout_formatter syslog sysmon_handler systemd; do
        ln -s "$home"/plugins/"$app"-[0-9]* "$dir/apps/" 2>/dev/null || true
    done
    echo '[].' >"$dir/plugins"
    printf kombu-test >"$dir/home/.erlang.cookie"
    chmod 400 "$dir/home/.erlang.cookie"
    # Erlang terms instead of rabbitmq.conf, which would first be translated through every plug-in's schema.
    cat >"$dir/advanced.config" <<TERMS
[{rabbit, [{tcp_listeners, [{"127.0.0.1", $port}]},
           {default_user, <<"kombu">>}, {default_pass, <<"kombu-secret">>}, {default_vhost, <<"tests">>},
           {loopback_users, []}, {disk_free_limit, 50000000},
           {log, [{console, [{enabled, false}]}, {file, [{level, info}]}]}]}].
TERMS

    cd "$dir"
    export HOME=$dir/home ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1
    unset NOTIFY_SOCKET
    setsid epmd -port "$epmd_port" -address 127.0.0.1 >/dev/null 2>&1 </dev/null &
    echo $! >epmd.pid
    env ERL_LIBS="$dir/apps" ERL_MAX_PORTS=4096 LC_ALL=C.UTF-8 \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME="$node" RABBITMQ_HOME="$dir" \
        RABBITMQ_PLUGINS_DIR="$dir/apps" RABBITMQ_PLUGINS_EXPAND_DIR="$dir/expanded" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" \
        RABBITMQ_CONFIG_FILE="$dir/none.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" \
        RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated" RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" \
        RABBITMQ_FEATURE_FLAGS_FILE="$dir/feature_flags" RABBITMQ_PID_FILE="$dir/rabbit.pid" \
        RABBITMQ_DIST_PORT="$distribution_port" \
        setsid erl -noinput -s rabbit boot -boot start_sasl +W w +S 2:2 +A 16 \
            -syslog logger '[]' -syslog syslog_error_logger false -kernel inet_dist_use_interface '{127,0,0,1}' \
            >"$dir/out" 2>&1 </dev/null &
    echo $! >node.pid

    local _
    for _ in $(seq 600); do
        if speaks_amqp 2>/dev/null; then
            evaluate 'rabbit_vhost:add(<<"second">>, <<"tests">>)' >/dev/null
            evaluate 'rabbit_auth_backend_internal:set_permissions(<<"kombu">>, <<"second">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)' >/dev/null
            return 0
        fi
        kill -0 "$(cat node.pid)" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$dir/out" >&2
    fail "the node did not start"
}

evaluate() {
    HOME=$dir/home ERL_EPMD_PORT=$epmd_port erl_call -sname "${node}" -c kombu-test -e <<<"$1."
}

case $action in
    start) start ;;
    stop) stop ;;
    eval) dir=$(cd "$dir" && pwd -P); evaluate "${4:?expression}" ;;
    *) fail "unknown action $action" ;;
esac
