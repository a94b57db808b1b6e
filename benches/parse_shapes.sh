#!/bin/bash
# How fast `tcptally parse` reads every shape of strace log, as a ratio to `grep -c accept` (of
# compressed logs: to `zcat | grep -c`).
#
#   benches/parse_shapes.sh [MEGABYTES [SHAPE...]]     of each log; 400 and all shapes by default
#
# The commands run in turns, so that other load falls on all of them; medians of ROUNDS count.
# Starting and writing the report take 5 ms (of 100,000 addresses 60 ms) however short the log is.
# Goals: 1.2 times grep, 2.0 for 100,000 addresses, 1.5 with --port.
set -euo pipefail
cd "$(dirname "$0")/.."
megabytes=${1:-400}
shift || true
rounds=${ROUNDS:-7}
export LC_ALL=C TIMEFORMAT=%R

# Shapes of genshapes and numbers of addresses.
shapes=("$@")
[ ${#shapes[@]} -gt 0 ] || shapes=(
    f+r:100 f+r:5000 f+r:100000 r:5000 t:5000 tt:5000 ttt:5000 tt+T:5000 none:5000
    pid+tt:5000 f+ttt:5000 pid+ttt:5000 f+ttt+r:5000 f+tt:100 f+tt:5000 f+tt:100000
    f+tt+bursts:5000 f+tt+old:5000 f+tt+yy:5000 f+tt+yy+T:5000 f+tt+v6:5000 f+tt+v6+yy:5000
    f+tt+y:5000 f+tt+comm:5000 f+tt+k:5000 f+tt+again:5000
    f+tt+v6+long:5000 f+tt+v6+long+yy:5000 f+tt+threads:5000 f+tt+fds:5000 f+r+half+fds:5000
    f+tt+mapped:5000 f+tt+half:5000 f+r+half:5000 f+tt+all:5000 r+all:5000 f+tt+half+all:5000 f+tt+few:5000
    f+tt+yy+half:5000 f+tt+y+half:5000 f+tt+ns:5000 f+ttt+ns:5000 f+tt+full:5000 f+tt+unix:5000 f+tt+proxy:5000
    f+tt+fork:5000 pid+tt+fork:5000 f+tt+named:5000 f+tt+null:5000
    tt+journal:5000 f+tt+all+journal:5000 f+docker:5000 f+cri:5000 f+tt+compose:5000 f+tt+json:5000
)

cargo build --release --locked --quiet --bin tcptally --example genshapes
tool=target/release/tcptally
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Appends the seconds that a command takes to $dir/$1.
measure() {
    local name=$1 start=$EPOCHREALTIME
    shift
    "$@" > "$dir/$name.out"
    echo "$start $EPOCHREALTIME" | awk '{ printf "%.4f\n", $2 - $1 }' >> "$dir/$name.times"
}

median() { sort -n "$dir/$1.times" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }

# One line of the result: what is measured, the seconds of parse, and the ratio to `base`.
row() { awk -v n="$1" -v t="$(median "$2")" -v g="$(median "$3")" \
    'BEGIN { printf "  %-34s %8.3f s %8.3f s %6.2f\n", n, t, g, t / g }'; }

decompress() { "$1" -dc "$2" | grep -c accept; }

printf '  %-34s %10s %10s %6s\n' shape parse grep ratio
for shape in "${shapes[@]}"; do
    log=$dir/log
    target/release/examples/genshapes "${shape%:*}" "${shape#*:}" "$megabytes" > "$log"
    rm -f "$dir"/*.times
    for _ in $(seq "$rounds"); do
        measure parse $tool parse -q -F plain "$log"
        measure grep grep -c accept "$log"
        measure port $tool parse -q -F plain --port 80 "$log"
    done
    row "$shape" parse grep
    row "$shape --port 80" port grep
    [ "$shape" = f+tt:5000 ] || continue
    gzip -1 -k "$log"
    zstd -q -1 -k "$log"
    for _ in $(seq "$rounds"); do
        measure gz $tool parse -q -F plain "$log.gz"
        measure zgrep decompress gzip "$log.gz"
        measure zst $tool parse -q -F plain "$log.zst"
        measure zstgrep decompress zstd "$log.zst"
    done
    row "$shape gzip" gz zgrep
    row "$shape zstd" zst zstgrep
done
