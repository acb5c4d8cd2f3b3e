#!/usr/bin/env bash
# The demonstration behind `make run` and `make run-zk`: publishes the example
# on the first start, keeps the pulse going, serves corefile.example. Ctrl-C
# ends everything that it started; the data stay in run/ (make clean).
set -euo pipefail
# Run from the top of the checkout, as make does: bin/, build/example and
# corefile.example are looked for in the working directory.

kind=${1:-dir}
mkdir -p run
pids=()
stop() {
    trap - EXIT INT TERM
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap stop EXIT
trap 'exit 0' INT TERM

case $kind in
dir)
    export POPDNS_STORE=dir:run/store
    corefile=corefile.example
    ;;
zk)
    zkport=${POPDNS_ZK_PORT:-2181}
    zkdir=$PWD/run/zookeeper
    mkdir -p "$zkdir/data"
    printf '%s\n' tickTime=2000 "dataDir=$zkdir/data" clientPortAddress=127.0.0.1 "clientPort=$zkport" \
        admin.enableServer=false 4lw.commands.whitelist=srvr clientPortListenBacklog=4096 >"$zkdir/zoo.cfg"
    jars=/usr/share/java
    java -Xmx256m -XX:+UseSerialGC -cp "$jars/zookeeper.jar:$jars/slf4j-simple.jar" \
        org.apache.zookeeper.server.ZooKeeperServerMain "$zkdir/zoo.cfg" >"$zkdir/log" 2>&1 &
    pids+=($!)
    # It serves once it tells its mode; "imok" comes before the data are loaded.
    # The limit is for a port that somebody else holds, who never answers.
    tells_mode='exec 3<>"/dev/tcp/127.0.0.1/$0" && printf srvr >&3 && grep -q Mode: <&3'
    for ((n = 0; ; n++)); do
        if timeout 2 bash -c "$tells_mode" "$zkport" 2>/dev/null; then break; fi
        if ((n > 150)) || ! kill -0 "${pids[0]}" 2>/dev/null; then
            echo "ZooKeeper did not start; its log is $zkdir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "ZooKeeper is up on 127.0.0.1:$zkport"
    export POPDNS_STORE=zk://127.0.0.1:$zkport/popdns
    corefile=run/Corefile.zk
    sed -e "s|source dir:run/store|source $POPDNS_STORE|" -e 's|cache run/cache|cache run/cache-zk|' corefile.example >"$corefile"
    ;;
*)
    echo "usage: build/run.sh [dir|zk]" >&2
    exit 1
    ;;
esac

bin/popctl init
# Publishing what is published already changes nothing and says so; what was
# changed by hand since the first start is left alone.
if ! bin/popctl zone list | grep -q '^example\.org'; then
    bin/popctl pop apply build/example/pops.yaml -m "the example"
    bin/popctl map publish edge build/example/edge.yaml -m "the example"
    bin/popctl zone publish example.org build/example/example.org.zone -m "the example"
fi
bin/popctl pulse --every 10s >/dev/null &
pids+=($!)
bin/coredns -conf "$corefile" &
pids+=($!)

cat <<EOF

Try, in another terminal:
  dig @127.0.0.1 -p 1053 www.example.org A
  dig @127.0.0.1 -p 1053 www.example.org A +subnet=198.51.100.0/24
  dig @127.0.0.1 -p 1053 _freshness.example.org TXT
and then, with  export POPDNS_STORE=$POPDNS_STORE :
  bin/popctl pop drain iad2        # ask again: the second dig moves to another PoP
  bin/popctl zone set example.org hello 60 A 192.0.2.7

EOF
wait -n
echo "one of the servers ended; stopping the rest" >&2
exit 1
