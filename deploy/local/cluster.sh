#!/usr/bin/env bash
# A Ray cluster of several nodes on this one machine, to try what a sweep does on a real one:
# a head without cores, on which the driver runs, and workers that can be lost and come back.
# Only processes of this cluster are ever ended; `ray stop` would end every Ray of the machine.
#
#   deploy/local/cluster.sh start [--workers N] [--cpus N] [--gpus N] [--folder DIR]
#   eval "$(deploy/local/cluster.sh env)"              address and token, for the commands below
#   rlp-sweeps run quickstart --address "$RLP_ADDRESS" --device cpu
#   deploy/local/cluster.sh add [--cpus N] [--gpus N]  one more worker; prints its number
#   deploy/local/cluster.sh remove NUMBER              lose a worker (kill -9), as a spot machine is
#   deploy/local/cluster.sh stop                       end the cluster, and remove its folder
#
# To change: --cpus and --gpus are what each worker says it has (default 1 and 0); GPUs of one
# machine are numbered alike on every worker, so that more than one worker should not claim them.
# Ray listens on all interfaces of the machine. Whoever has the token of DIR/token may run programs
# here: the folder is its owner's alone.
set -euo pipefail

workers=2 cpus=1 gpus=0 number=
folder=${TMPDIR:-/tmp}/rlp-cluster-$(id -u)
store_bytes=200000000 # object store of each node

die() { echo "cluster.sh: $*" >&2; exit 2; }

command=${1:-}; [ $# -gt 0 ] && shift
while [ $# -gt 0 ]; do
  case $1 in
    --workers) workers=$2; shift 2 ;;
    --cpus) cpus=$2; shift 2 ;;
    --gpus) gpus=$2; shift 2 ;;
    --folder) folder=$2; shift 2 ;;
    [0-9]*) number=$1; shift ;;
    *) die "unknown option $1; the first lines of this file list them." ;;
  esac
done

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token RAY_TMPDIR=$folder
export RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1
unset RAY_ADDRESS

# Every node's processes form a session of their own, led by `ray start --block`.
processes_of() { # NUMBER
  local sid pid
  sid=$(cat "$folder/nodes/$1" 2>/dev/null) || return 0
  for pid in $(pgrep -s "$sid" || true); do # a number may have been given to a stranger meanwhile
    { tr '\0' '\n' <"/proc/$pid/environ" | grep -qxF "RAY_TMPDIR=$folder"; } 2>/dev/null && echo "$pid"
  done
  return 0
}

start_node() { # NUMBER, options of ray start
  local node=$1 log=$folder/node-$1.log waited; shift
  setsid ray start --block --object-store-memory=$store_bytes --disable-usage-stats "$@" \
    </dev/null >"$log" 2>&1 &
  echo $! >"$folder/nodes/$node"
  for waited in $(seq 240); do
    grep -q "Ray runtime started" "$log" && return 0
    kill -0 "$(cat "$folder/nodes/$node")" 2>/dev/null || break
    sleep 0.5
  done
  cat "$log" >&2
  die "node $node did not start; its log stands above."
}

end_node() { # NUMBER, SIGNAL
  local signal=$2 waited pids
  for waited in $(seq 60); do
    pids=$(processes_of "$1")
    [ -z "$pids" ] && { rm -f "$folder/nodes/$1"; return 0; }
    [ "$waited" -gt 30 ] && signal=KILL
    # shellcheck disable=SC2086  # several numbers
    { [ "$waited" = 1 ] || [ "$signal" = KILL ]; } && kill -s "$signal" $pids 2>/dev/null
    sleep 0.3
  done
  die "processes of node $1 outlive it: $pids"
}

address() { cat "$folder/ray/ray_current_cluster"; }
next_number() { for n in $(seq 1 999); do [ -e "$folder/nodes/$n" ] || { echo "$n"; return; }; done; }
add_worker() { start_node "$1" --address="$(address)" --num-cpus="$cpus" --num-gpus="$gpus"; }

case $command in
  start)
    [ -d "$folder/nodes" ] && die "a cluster stands in $folder; stop it, or name another --folder."
    umask 077
    mkdir -p "$folder/nodes"
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token"
    start_node 0 --head --port=0 --include-dashboard=false --num-cpus=0
    for n in $(seq "$workers"); do add_worker "$n"; done
    echo "a cluster of $workers worker(s) with $cpus core(s) each runs at $(address)"
    echo "next: eval \"\$($0 env --folder $folder)\""
    ;;
  add)
    [ -d "$folder/nodes" ] || die "no cluster stands in $folder."
    n=$(next_number); add_worker "$n"; echo "$n"
    ;;
  remove)
    [ -n "$number" ] && [ -e "$folder/nodes/$number" ] || die "remove which worker? $(ls "$folder/nodes")"
    end_node "$number" KILL
    ;;
  env)
    echo "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH='$folder/token' RAY_TMPDIR='$folder'"
    echo "export RAY_USAGE_STATS_ENABLED=0 RLP_ADDRESS='$(address)'"
    ;;
  stop)
    [ -d "$folder/nodes" ] || die "no cluster stands in $folder."
    for n in $(ls "$folder/nodes" | sort -rn); do end_node "$n" TERM; done
    rm -rf "$folder"
    ;;
  *) die "say start, add, remove, env or stop; the first lines of this file tell what they do." ;;
esac
