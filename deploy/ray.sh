#!/bin/sh
# A member of the Ray cluster of profile `ray`. RAY_HEAD is where its head listens, RAY_STORE the bytes of a node's memory for objects.
#
#   ray.sh head | worker
#   ray.sh beside COMMAND ...    a node without cores beside a command, which is a member by it
set -eu
# By its address in the head's network: a container may be in several, and others must reach it in this one.
own() {
    python -c 'import socket, sys
host, _, port = sys.argv[1].rpartition(":")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((host, int(port)))
    print(probe.getsockname()[0])' "$RAY_HEAD"
}
start() {
    exec ray start --node-ip-address="$(own)" --temp-dir="${TMPDIR:-/tmp}/ray" --object-store-memory="$RAY_STORE" \
        --disable-usage-stats --block "$@"
}
kind=$1
shift
case $kind in
head) start --head --port="${RAY_HEAD##*:}" --include-dashboard=false --num-cpus=0 ;;
worker) start --address="$RAY_HEAD" ${RAY_CORES:+--num-cpus="$RAY_CORES"} ;;
beside)
    # The node ends with the head, and joins again once there is one.
    while true; do
        (start --address="$RAY_HEAD" --num-cpus=0) || sleep 2
    done >&2 &
    exec "$@"
    ;;
*) echo "ray.sh: must be given head, worker or beside, got $kind." >&2 && exit 2 ;;
esac
