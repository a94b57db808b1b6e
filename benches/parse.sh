#!/bin/bash
# How fast `tcptally parse` reads strace logs: against the gawk one-liner that everybody uses, and
# against grep and wc, which do far less.
#
#   benches/parse.sh [PERCENT]     of the full sizes, 553 and 517 MB; 20 by default
#
# All are measured in turns in the same run, so that other load falls on all of them. Of the fast
# ones the median of ROUNDS counts; gawk runs once. The counts of all must agree.
set -euo pipefail
cd "$(dirname "$0")/.."
percent=${1:-20}
rounds=${ROUNDS:-7}
export LC_ALL=C

cargo build --release --locked --quiet --bin tcptally --example genlog
tool=target/release/tcptally
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# As it is passed on, with the locale that most people have. It knows no port.
one_liner() {
    LC_ALL=C.UTF-8 gawk '
        match($0, /accept4?(\(| resumed>).*sin_addr=inet_addr\("([^"]+)"\).* = [0-9]+/, m) { n[m[2]]++ }
        END { for (ip in n) print ip ": " n[ip] }' "$1"
}

# Appends the seconds that a command takes to $dir/$1; its output goes to $dir/$1.out.
measure() {
    local name=$1 start=$EPOCHREALTIME
    shift
    # A file, and not /dev/null: grep stops early there.
    "$@" > "$dir/$name.out"
    echo "$start $EPOCHREALTIME" | gawk '{ printf "%.4f\n", $2 - $1 }' >> "$dir/$name"
}

median() { sort -n "$dir/$1" | gawk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }

agree() {
    cmp -s <(sort "$dir/gawk.out") <(sort "$dir/$1.out") && return
    echo "$2: $1 counts differently from gawk" >&2
    exit 1
}

for kind in accept mixed; do
    size=553
    [ $kind = mixed ] && size=517
    log=$dir/$kind.log
    target/release/examples/genlog $kind $((size * percent / 100)) > "$log"
    rm -f "$dir"/{ours,port,grep,wc,gawk}
    cat "$log" > /dev/null
    for _ in $(seq "$rounds"); do
        measure ours $tool parse -F plain "$log"
        measure grep grep -c accept4 "$log"
        measure port $tool parse -F plain --port 80,443 "$log"
        measure wc wc -l "$log"
    done
    measure gawk one_liner "$log"
    agree ours $kind
    agree port $kind
    gawk -v kind=$kind -v size="$(stat -c %s "$log")" \
        -v n="$(gawk '{ n += $2 } END { print n }' "$dir/ours.out")" -v a="$(median gawk)" \
        -v t="$(median ours)" -v p="$(median port)" -v g="$(median grep)" -v w="$(median wc)" '
    function row(name, s) {
        printf "  %-28s %8.3f s %8.2f %8.2f\n", name, s, s / t, s / p
    }
    BEGIN {
        printf "%s: %d MB, %d connections, %.0f MB/s\n", kind, size / 1e6, n, size / 1e6 / t
        printf "  %-28s %10s %8s %8s\n", "", "", "/ parse", "/ --port"
        row("tcptally parse", t)
        row("tcptally parse --port 80,443", p)
        row("grep -c accept4", g)
        row("wc -l", w)
        row("gawk match()", a)
    }'
done
