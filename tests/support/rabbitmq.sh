#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# RabbitMQ nodes for tests: loopback only, own data, own Erlang port mapper, no systemd.
#
#   rabbitmq.sh start DIR PORT           start an empty node in DIR; returns when it speaks AMQP
#   rabbitmq.sh cluster DIR PORT COUNT   start empty nodes in DIR/PORT, DIR/PORT+10, ..., and make them a cluster
#   rabbitmq.sh stop DIR [PORT]          stop the node, or all nodes of the cluster, and delete DIR
#   rabbitmq.sh kill DIR PORT            end a node as a crash does; its data stays
#   rabbitmq.sh shutdown DIR PORT        end it as an operator does
#   rabbitmq.sh restart DIR PORT         start it again; returns when it speaks AMQP
#   rabbitmq.sh await-quorum DIR PORT    return when the quorum queues of this node outlive the end of any one node
#   rabbitmq.sh pause DIR PORT           stop it from running, without closing anything
#   rabbitmq.sh resume DIR PORT          let it run again
#   rabbitmq.sh eval DIR PORT E          evaluate an Erlang expression in it
#
# A node that was started alone also has, with the certificates of certs.sh in DIR/certs and a user `client` for the
# certificate of that name:
#
#   PORT+3: with TLS, and sessions that can be resumed; PORT+4: with TLS, requires client certificates
#   PORT+5 to PORT+8: with TLS and the certificates elsewhere, expired, selfsigned and unknown
#
# They have the virtual hosts `tests` and `second`, and the user kombu with the password kombu-secret.
set -euo pipefail

action=${1:?action} dir=${2:?directory} port=${3:-}
node=kombu-test-$port@localhost
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "rabbitmq.sh: $*" >&2; exit 1; }

# A pid counts only while its process runs in this directory: pids are reused.
running() { [ -f "$dir/$1.pid" ] && [ "$(readlink "/proc/$(cat "$dir/$1.pid")/cwd")" = "$dir" ]; }

# end PROCESS SIGNAL
end() {
    running "$1" || return 0
    local pid; pid=$(cat "$dir/$1.pid")
    kill "-$2" "$pid" 2>/dev/null || true
    for _ in $(seq 400); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.05; done
    fail "process $pid does not end"
}

stop() {
    [ -d "$dir" ] || return 0
    local all dir=$dir
    all=$(cd "$dir" && pwd -P)
    for dir in "$all" "$all"/*/; do
        dir=${dir%/}
        end node KILL
    done
    for dir in "$all" "$all"/*/; do
        dir=${dir%/}
        end epmd KILL
    done
    rm -rf "$all"
}

speaks_amqp() {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    (trap '' PIPE; printf 'AMQP\0\0\011\001' >&3) || return 1  # a node that ends may reset the connection
    local answer
    IFS= LC_ALL=C read -r -t 5 -n 1 -u 3 answer || true
    exec 3>&-
    [ "$answer" = $'\001' ]
}

# Makes DIR: for a node alone, or for a member of the cluster whose first node has this port, with nodes on these ports.
prepare() {
    local first=$1 home members='' cluster_nodes='' tls='' member
    shift
    home=$(find /usr/lib/rabbitmq/lib -maxdepth 1 -name 'rabbitmq_server-*' 2>/dev/null | sort | tail -n 1)
    [ -n "$home" ] || fail "rabbitmq-server is not installed"
    mkdir -p "$dir/home" "$dir/apps"
    dir=$(cd "$dir" && pwd -P)
    echo $((first + 1)) >"$dir/epmd.port"

    # Only the applications that the broker needs: each plug-in directory on the code path slows every module look-up,
    # and the look-ups take most of the start time.
    local app
    for app in amqp10_common aten credentials_obfuscation cuttlefish enough gen_batch_server jsx observer_cli osiris ra rabbit \
               rabbit_common rabbitmq_auth_mechanism_ssl rabbitmq_prelaunch ranch recon seshat stdout_formatter syslog sysmon_handler systemd; do
        ln -s "$home"/plugins/"$app"-[0-9]* "$dir/apps/" 2>/dev/null || true
    done
    echo '[rabbitmq_auth_mechanism_ssl].' >"$dir/plugins"
    printf kombu-test >"$dir/home/.erlang.cookie"
    chmod 400 "$dir/home/.erlang.cookie"
    for member in "$@"; do members+=${members:+,}"'kombu-test-$member@localhost'"; done
    [ -z "$members" ] || cluster_nodes="{cluster_nodes, {[$members], disc}},"
    if [ -f "$dir/certs/complete" ]; then
        tls="{ssl_listeners, [{\"127.0.0.1\", $((port + 3))}]}, {ssl_options, $(tls_options server false stateless)},"
    fi
    # Erlang terms instead of rabbitmq.conf, which would first be translated through every plug-in's schema.
    cat >"$dir/advanced.config" <<TERMS
[{kernel, [{net_ticktime, 5}]},
 {rabbit, [{tcp_listeners, [{"127.0.0.1", $port}]}, $cluster_nodes
           {cluster_partition_handling, pause_minority}, {mnesia_table_loading_retry_timeout, 10000},
           {default_user, <<"kombu">>}, {default_pass, <<"kombu-secret">>}, {default_vhost, <<"tests">>},
           {auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL']}, {ssl_cert_login_from, common_name},
           $tls {loopback_users, []}, {disk_free_limit, 50000000},
           {log, [{console, [{enabled, false}]}, {file, [{level, info}]}]}]}].
TERMS
    if [ "$port" = "$first" ]; then
        (cd "$dir" && exec setsid epmd -port "$((first + 1))" -address 127.0.0.1 >/dev/null 2>&1 </dev/null) &
        echo $! >"$dir/epmd.pid"
    fi
}

launch() {
    cd "$dir"
    local epmd_port; epmd_port=$(cat epmd.port)
    unset NOTIFY_SOCKET
    env HOME="$dir/home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        ERL_LIBS="$dir/apps" ERL_MAX_PORTS=4096 LC_ALL=C.UTF-8 \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME="$node" RABBITMQ_HOME="$dir" \
        RABBITMQ_PLUGINS_DIR="$dir/apps" RABBITMQ_PLUGINS_EXPAND_DIR="$dir/expanded" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" \
        RABBITMQ_CONFIG_FILE="$dir/none.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" \
        RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated" RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" \
        RABBITMQ_FEATURE_FLAGS_FILE="$dir/feature_flags" RABBITMQ_PID_FILE="$dir/rabbit.pid" \
        RABBITMQ_DIST_PORT="$((port + 2))" \
        setsid erl -noinput -s rabbit boot -boot start_sasl +W w +S 2:2 +A 16 \
            -syslog logger '[]' -syslog syslog_error_logger false -kernel prevent_overlapping_partitions false \
            -kernel inet_dist_use_interface '{127,0,0,1}' >"$dir/out" 2>&1 </dev/null &
    echo $! >node.pid
    cd /
}

await() {
    local _
    for _ in $(seq 600); do
        if speaks_amqp 2>/dev/null; then return 0; fi
        kill -0 "$(cat "$dir/node.pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$dir/out" >&2
    fail "the node did not start"
}

# tls_options CERTIFICATE REQUIRED [TICKETS]: whether clients must have a certificate
tls_options() {
    echo "[{certfile, \"$dir/certs/$1.pem\"}, {keyfile, \"$dir/certs/$1.key\"}, {cacertfile, \"$dir/certs/ca.pem\"}," \
        "{verify, verify_peer}, {fail_if_no_peer_cert, $2}, {session_tickets, ${3:-disabled}}]"
}

# More listeners, which end with the node.
listen_with_tls() {
    local offset=4 certificate required=true
    for certificate in server elsewhere expired selfsigned unknown; do
        evaluate "rabbit_networking:start_ssl_listener({\"127.0.0.1\", $((port + offset))}, $(tls_options "$certificate" "$required"), 1)" >/dev/null
        offset=$((offset + 1)) required=false
    done
    evaluate 'rabbit_auth_backend_internal:add_user(<<"client">>, <<"client-secret">>, <<"tests">>)' >/dev/null
    evaluate 'rabbit_auth_backend_internal:set_permissions(<<"client">>, <<"tests">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)' >/dev/null
}

add_virtual_host() {
    evaluate 'rabbit_vhost:add(<<"second">>, <<"tests">>)' >/dev/null
    evaluate 'rabbit_auth_backend_internal:set_permissions(<<"kombu">>, <<"second">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)' >/dev/null
}

start() {
    stop
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd -P)
    "$here/certs.sh" "$dir/certs"
    prepare "$port"
    launch
    await
    add_virtual_host
    listen_with_tls
}

# The first node alone, and then the others: empty nodes that start together wait for each other.
cluster() {
    local count=$1 all=$dir first=$port ports=() _
    stop
    mkdir -p "$all"
    all=$(cd "$all" && pwd -P)
    for ((i = 0; i < count; ++i)); do ports+=($((first + 10 * i))); done
    for port in "${ports[@]}"; do
        dir=$all/$port node=kombu-test-$port@localhost
        if [ "$port" = "$first" ]; then prepare "$first" "$first"; else prepare "$first" "${ports[@]}"; fi
        launch
        if [ "$port" = "$first" ]; then await; add_virtual_host; fi
    done
    for port in "${ports[@]}"; do dir=$all/$port node=kombu-test-$port@localhost && await; done
    for _ in $(seq 300); do
        [ "$(evaluate 'length(rabbit_nodes:all_running())' | tr -dc 0-9)" != "$count" ] || return 0
        sleep 0.1
    done
    fail "the nodes are no cluster"
}

evaluate() {
    local result
    result=$(HOME=$dir/home ERL_EPMD_PORT=$(cat "$dir/epmd.port") erl_call -sname "${node}" -c kombu-test -e <<<"$1.")
    [[ $result == '{ok,'* ]] || fail "$1: $result"
    echo "$result"
}

await_quorum() {
    case $(evaluate 'rabbit_upgrade_preparation:await_online_quorum_plus_one(30000)') in
        *'{ok, true}'*) ;;
        *) fail "the quorum queues lack members" ;;
    esac
}

# DIR is that of the node, or of its cluster.
enter_node() {
    dir=$(cd "$dir" && pwd -P)
    [ ! -d "$dir/$port" ] || dir=$dir/$port
}

case $action in
    start) start ;;
    cluster) cluster "${4:?count}" ;;
    stop) stop ;;
    kill) enter_node; end node KILL ;;
    shutdown) enter_node; end node TERM ;;
    restart) enter_node; launch; await ;;
    await-quorum) enter_node; await_quorum ;;
    pause) enter_node; kill -STOP "$(cat "$dir/node.pid")" ;;
    resume) enter_node; kill -CONT "$(cat "$dir/node.pid")" ;;
    eval) enter_node; evaluate "${4:?expression}" ;;
    *) fail "unknown action $action" ;;
esac
