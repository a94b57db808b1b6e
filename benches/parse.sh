#!/bin/bash
# How fast `tcptally parse` reads strace logs, against the one-liner that everybody uses, and
# against grep and wc, which do far less.
#
#   benches/parse.sh [PERCENT]     of the full sizes, 553 and 517 MB; 20 by default
#
# All are measured in turns in the same run, so that other load on the machine falls on all. Of the fast ones the best
# of ROUNDS counts, gawk runs once. The counts of all must agree.
set -euo pipefail
cd "$(dirname "$0")/.."
percent=${1:-20}
rounds=${ROUNDS:-5}
export LC_ALL=C

cargo build --release --locked --quiet --bin tcptally --example genlog
tool=target/release/tcptally
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

gawk_counts() {
    gawk 'match($0, /accept4?(\([0-9]+, | resumed>){[^}]*inet_addr\("([0-9.]+)"\)/, m) { n[m[2]]++ }
          END { for (ip in n) print ip ": " n[ip] }' "$1"
}

# Seconds that a command takes; its output goes to $dir/out.
seconds() {
    local start=$EPOCHREALTIME
    "$@" > "$dir/out"
    local end=$EPOCHREALTIME
    gawk -v a="$start" -v b="$end" 'BEGIN { printf "%.4f", b - a }'
}

best() { sort -n "$dir/$1" | head -1; }

for kind in accept mixed; do
    full=553
    [ $kind = mixed ] && full=517
    log=$dir/$kind.log
    target/release/examples/genlog $kind $((full * percent / 100)) > "$log"
    rm -f "$dir"/{tcptally,port,grep,wc}
    for _ in $(seq "$rounds"); do
        seconds $tool parse -F plain "$log" >> "$dir/tcptally"; echo >> "$dir/tcptally"
        sort "$dir/out" > "$dir/ours"
        seconds $tool parse -F plain --port 80,443 "$log" >> "$dir/port"; echo >> "$dir/port"
        sort "$dir/out" > "$dir/ours.port"
        seconds grep -c accept4 "$log" >> "$dir/grep"; echo >> "$dir/grep"
        seconds wc -l "$log" >> "$dir/wc"; echo >> "$dir/wc"
    done
    slow=$(seconds gawk_counts "$log")
    sort "$dir/out" > "$dir/gawks"
    for ours in ours ours.port; do
        cmp -s "$dir/gawks" "$dir/$ours" || { echo "$kind: the counts differ" >&2; exit 1; }
    done
    gawk -v kind=$kind -v size="$(stat -c %s "$log")" -v n="$(gawk '{ n += $2 } END { print n }' "$dir/ours")" \
        -v t="$(best tcptally)" -v p="$(best port)" -v g="$(best grep)" -v w="$(best wc)" -v a="$slow" 'BEGIN {
        printf "%s: %d MB, %d connections\n", kind, size / 1e6, n
        printf "  tcptally          %7.3f s  %5.0f MB/s\n", t, size / 1e6 / t
        printf "  tcptally --port   %7.3f s\n", p
        printf "  grep -c           %7.3f s  tcptally takes %.2f of it (%.2f with --port)\n", g, t / g, p / g
        printf "  wc -l             %7.3f s  %.2f\n", w, t / w
        printf "  gawk match()      %7.3f s  %.0f times as long as tcptally (%.0f with --port)\n", a, a / t, a / p
    }'
done
