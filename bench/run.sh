#!/bin/sh
# Drives causeway and Debian's mosquitto and RabbitMQ with the same load, one after
# the other, and prints one table. See README.md for what is compared, and how.
set -eu

repeat=${REPEAT:-3} devices=${DEVICES:-200} idle=${IDLE:-2000} storm=${STORM:-2000} duration=${DURATION:-10s}
amqp_devices=${AMQP_DEVICES:-50} servers=${SERVERS:-causeway mosquitto rabbitmq} part=${PART:-all}
registrations=${REGISTRATIONS:-10000} at_once=${AT_ONCE:-10000}
server_core=${SERVER_CORE:-0} client_core=${CLIENT_CORE:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
results=$root/bench/results
data=${DATA:-$(mktemp -d)}
pid= epmd=

stop() { # [SIGNAL]
	[ -z "$pid" ] || { kill -"${1:-INT}" "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
	pid=
}
finish() {
	stop TERM
	[ -z "$epmd" ] || kill "$epmd" 2>/dev/null || true
	[ -n "${DATA:-}" ] || rm -rf "$data"
}
trap finish EXIT
trap 'exit 130' INT TERM

PATH=$PATH:/usr/sbin # where Debian puts mosquitto
need() {
	command -v "$1" >/dev/null 2>&1 || {
		echo "bench: $1 is missing: $2" >&2
		exit 1
	}
}
need go "install Go"
need taskset "apt-get install util-linux"
wants() { case " $servers " in *" $1 "*) return 0 ;; esac; return 1; }
rabbitmq=/usr/lib/rabbitmq/bin/rabbitmq-server # where Debian puts the one that needs no root
[ "$part" = all ] || servers=$(echo " $servers " | sed 's/ mosquitto / /') # it speaks no AMQP
wants mosquitto && need mosquitto "apt-get install mosquitto (it need not run as a service)"
wants rabbitmq && need $rabbitmq "apt-get install rabbitmq-server (it need not run as a service), or leave it out with SERVERS='causeway mosquitto'"
if [ "$(nproc)" -le "$server_core" ] || [ "$(nproc)" -le "$client_core" ]; then
	echo "bench: this machine has $(nproc) core(s); choose others with SERVER_CORE and CLIENT_CORE" >&2
	exit 1
fi

mkdir -p "$results" "$data"
for s in $servers; do rm -f "$results/$s"*.json; done # the table is of this run
bin=$data/causeway
(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$bin" ./cmd/causeway)

# await COMMAND… waits until the command succeeds.
await() {
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 200 ] || { echo "bench: the server does not answer ($*)" >&2; exit 1; }
		kill -0 "$pid" 2>/dev/null || { echo "bench: the server has ended" >&2; exit 1; }
		sleep 0.05
	done
}

generator() {
	workload=$1
	shift
	GOMAXPROCS=1 taskset -c "$client_core" "$bin" bench "$workload" --repeat "$repeat" --duration "$duration" "$@" >&2
}

# provision registers devices that come all at once, each on a connection of its
# own, on a server that has done nothing else. Both share the two cores: handshakes
# cost devices as much as the server, and neither is measured for itself.
provision() {
	rm -rf "$data/dps" "$data/ready.json"
	GOMAXPROCS=2 taskset -c "$server_core,$client_core" "$bin" quickstart --quiet --no-sensor \
		--data "$data/dps" --https 127.0.0.1:28443 --mqtt 127.0.0.1:28883 --amqp 127.0.0.1:28671 --ready-file "$data/ready.json" &
	pid=$!
	await test -e "$data/ready.json"
	ulimit -n "$(ulimit -H -n)"
	GOMAXPROCS=2 taskset -c "$server_core,$client_core" "$bin" dps simulate --data "$data/dps" --devices "$registrations" --at-once "$at_once"
	grep -E 'VmHWM|VmRSS' "/proc/$pid/status" | sed 's/^/server /'
	stop
}

# measure NAME TARGET-FLAGS… runs the workloads that both kinds of server have.
measure() {
	name=$1
	shift
	echo "== $name" >&2
	# First of all: memory that a server has kept from other work would hide
	# what connections cost.
	generator idle "$@" --name "$name" --devices "$idle" --listen=false --pid "$pid" --repeat 1 --save "$results/$name-idle.json"
	generator connect "$@" --name "$name" --devices "$storm" --save "$results/$name-connect.json"
	generator d2c "$@" --name "$name" --devices "$devices" --depth 1 --save "$results/$name-d2c-1.json"
	generator d2c "$@" --name "$name" --devices "$devices" --depth 10 --save "$results/$name-d2c-10.json"
	generator d2c "$@" --name "$name" --devices "$devices" --qos 0 --save "$results/$name-d2c-0.json"
}

if [ "$part" = dps ]; then
	provision
	exit
fi
echo "== causeway" >&2
GOMAXPROCS=1 taskset -c "$server_core" "$bin" quickstart --quiet --no-sensor \
	--data "$data/cloud" --https 127.0.0.1:28443 --mqtt 127.0.0.1:28883 --amqp 127.0.0.1:28671 --ready-file "$data/ready.json" &
pid=$!
await test -e "$data/ready.json"
if [ "$part" = all ]; then
	measure causeway --data "$data/cloud"
	for w in method c2d twin; do
		generator $w --data "$data/cloud" --name causeway --devices "$devices" --save "$results/causeway-$w.json"
	done
	# One call at a time: the round trip by itself.
	generator method --data "$data/cloud" --name causeway --devices 10 --depth 1 --save "$results/causeway-method-1.json"
fi
# In turns: how long a sync of the disk takes changes from minute to minute, and
# both protocols wait for it.
for depth in 10 100; do
	round=1
	while [ $round -le "$repeat" ]; do
		for w in d2c amqp-d2c; do
			generator $w --data "$data/cloud" --name causeway --devices "$amqp_devices" --depth $depth --repeat 1 \
				--save "$results/causeway-$w-$amqp_devices-$depth-$round.json"
		done
		round=$((round + 1))
	done
done
# What routes cost: a hundred with conditions on the body, of which none is true,
# against none at all, in turns.
if [ "$part" != amqp ]; then
	{
		printf '{"routes":['
		i=0
		while [ $i -lt 100 ]; do
			[ $i -eq 0 ] || printf ','
			case $((i % 4)) in
			0) c="\$body.temperature > $((100 + i))" ;;
			1) c="\$body.humidity < -$i AND \$body.temperature > 20" ;;
			2) c="\$body.kind = 'k$i' OR \$body.temperature < -$i" ;;
			3) c="\$body.room$i.level >= $i" ;;
			esac
			printf '{"name":"r%d","condition":"%s","endpointNames":["events"]}' "$i" "$c"
			i=$((i + 1))
		done
		printf ']}'
	} >"$data/routes.json"
	echo '{}' >"$data/no-routes.json"
	round=1
	while [ $round -le "$repeat" ]; do
		for n in no-routes routes; do
			"$bin" route apply "$data/$n.json" --data "$data/cloud" >/dev/null
			generator d2c --data "$data/cloud" --name causeway-$n --devices "$devices" --depth 10 --json --repeat 1 \
				--save "$results/causeway-$n-$round.json"
		done
		round=$((round + 1))
	done
	"$bin" route apply "$data/no-routes.json" --data "$data/cloud" >/dev/null
fi
generator latency --data "$data/cloud" --name causeway --devices 10 --rate 1000 --save "$results/causeway-latency.json"
generator events --data "$data/cloud" --name causeway --save "$results/causeway-events.json"
stop
# What connections cost is measured on a server that has done nothing else.
rm -f "$data/ready.json"
GOMAXPROCS=1 taskset -c "$server_core" "$bin" quickstart --quiet --no-sensor \
	--data "$data/cloud" --https 127.0.0.1:28443 --mqtt 127.0.0.1:28883 --amqp 127.0.0.1:28671 --ready-file "$data/ready.json" &
pid=$!
await test -e "$data/ready.json"
generator amqp-idle --data "$data/cloud" --name causeway --devices "$idle" --pid "$pid" --repeat 1 --save "$results/causeway-amqp-idle.json"
stop

for persistence in false true; do
	wants mosquitto || break
	name=mosquitto
	[ $persistence = false ] || name=mosquitto-persistent
	rm -rf "$data/mosquitto"
	mkdir -p "$data/mosquitto"
	cat >"$data/mosquitto.conf" <<END
listener 28884 127.0.0.1
certfile $data/cloud/ca/server.pem
keyfile $data/cloud/ca/server.key
allow_anonymous true
user $(id -un)
max_connections -1
set_tcp_nodelay true
log_type error
persistence $persistence
persistence_location $data/mosquitto/
END
	[ $persistence = false ] || printf 'autosave_on_changes true\nautosave_interval 1\n' >>"$data/mosquitto.conf"
	taskset -c "$server_core" mosquitto -c "$data/mosquitto.conf" &
	pid=$!
	await "$bin" bench connect --devices 1 --target mqtts://localhost:28884 --ca "$data/cloud/ca/ca.pem"
	measure $name --target mqtts://localhost:28884 --ca "$data/cloud/ca/ca.pem"
	stop
done

if wants rabbitmq; then
	echo "== rabbitmq" >&2
	rm -rf "$data/rabbitmq"
	mkdir -p "$data/rabbitmq"
	echo '[rabbitmq_amqp1_0].' >"$data/rabbitmq/plugins"
	cat >"$data/rabbitmq/rabbitmq.conf" <<END
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:28885
ssl_options.certfile = $data/cloud/ca/server.pem
ssl_options.keyfile = $data/cloud/ca/server.key
ssl_options.versions.1 = tlsv1.3
log.console = false
log.file.level = error
END
	# One scheduler for one core; names and ports of its own, beside a broker that
	# may be in use.
	HOME=$data/rabbitmq RABBITMQ_NODENAME=causeway-bench@localhost RABBITMQ_CONFIG_FILE=$data/rabbitmq/rabbitmq \
		RABBITMQ_MNESIA_BASE=$data/rabbitmq/db RABBITMQ_LOG_BASE=$data/rabbitmq/log \
		RABBITMQ_ENABLED_PLUGINS_FILE=$data/rabbitmq/plugins RABBITMQ_CONF_ENV_FILE=/dev/null \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1" RABBITMQ_DIST_PORT=28886 ERL_EPMD_PORT=28887 ERL_EPMD_ADDRESS=127.0.0.1 \
		taskset -c "$server_core" $rabbitmq >"$data/rabbitmq/out" 2>&1 &
	pid=$!
	target=amqps://guest:guest@localhost:28885/queue/telemetry
	await "$bin" bench amqp-d2c --devices 1 --duration 100ms --warmup 1ms --target $target --ca "$data/cloud/ca/ca.pem"
	epmd=$(pgrep -f "epmd.*-daemon" -n || true)
	for depth in 10 100; do
		generator amqp-d2c --target $target --ca "$data/cloud/ca/ca.pem" --name rabbitmq --devices "$amqp_devices" --depth $depth \
			--save "$results/rabbitmq-amqp-d2c-$amqp_devices-$depth.json"
	done
	stop TERM # Erlang takes INT for a wish to talk
fi

echo
# shellcheck disable=SC2086
"$bin" bench show $(for s in $servers; do ls "$results"/$s*.json; done)
