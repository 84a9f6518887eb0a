#!/bin/sh
# Drives causeway and Debian's mosquitto with the same load, one after the other,
# and prints one table. See README.md for what is compared, and how.
set -eu

repeat=${REPEAT:-3} devices=${DEVICES:-200} idle=${IDLE:-2000} storm=${STORM:-2000} duration=${DURATION:-10s}
server_core=${SERVER_CORE:-0} client_core=${CLIENT_CORE:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
results=$root/bench/results
data=${DATA:-$(mktemp -d)}
pid=

stop() {
	[ -z "$pid" ] || { kill -INT "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
	pid=
}
finish() {
	stop
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
need mosquitto "apt-get install mosquitto (it need not run as a service)"
if [ "$(nproc)" -le "$server_core" ] || [ "$(nproc)" -le "$client_core" ]; then
	echo "bench: this machine has $(nproc) core(s); choose others with SERVER_CORE and CLIENT_CORE" >&2
	exit 1
fi

mkdir -p "$results" "$data"
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

echo "== causeway" >&2
GOMAXPROCS=1 taskset -c "$server_core" "$bin" quickstart --quiet --no-sensor \
	--data "$data/cloud" --https 127.0.0.1:28443 --mqtt 127.0.0.1:28883 --amqp 127.0.0.1:28671 --ready-file "$data/ready.json" &
pid=$!
await test -e "$data/ready.json"
measure causeway --data "$data/cloud"
for w in method c2d twin; do
	generator $w --data "$data/cloud" --name causeway --devices "$devices" --save "$results/causeway-$w.json"
done
# One call at a time: the round trip by itself.
generator method --data "$data/cloud" --name causeway --devices 10 --depth 1 --save "$results/causeway-method-1.json"
stop

for persistence in false true; do
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

echo
"$bin" bench show \
	"$results"/causeway-*.json "$results"/mosquitto-*.json
