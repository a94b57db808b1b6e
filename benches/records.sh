#!/bin/bash
# How fast `tcptally parse` reads captures, kernel logs and logs of flows, against what people use in its place:
# tcpdump or tshark with awk behind it, gawk's match(), and grep, which only counts lines.
#
#   benches/records.sh [PERCENT]     of the full size, 500 MB each; 20 by default
#
# All are measured in turns in the same run, so that other load falls on all of them. Of the fast
# ones the median of ROUNDS counts; tshark and gawk run once. The counts of all must agree.
set -euo pipefail
cd "$(dirname "$0")/.."
percent=${1:-20}
rounds=${ROUNDS:-7}
export LC_ALL=C

cargo build --release --locked --quiet --bin tcptally --example genrecord
tool=target/release/tcptally
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

has() { command -v "$1" > /dev/null; }

# A SYN that is sent again has the sequence number of the first. `tcp[...]` is IPv4 alone.
by_tcpdump() {
    tcpdump -nr "$1" 'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn' 2> /dev/null | awk '
        !seen[$3, $5, $9]++ { sub(/\.[0-9]+$/, "", $3); n[$3]++ }
        END { for (ip in n) print ip ": " n[ip] }'
}

by_tshark() {
    tshark -nr "$1" -T fields -e ip.src -e ipv6.src \
        -Y 'tcp.flags.syn == 1 && tcp.flags.ack == 0 && !tcp.analysis.retransmission' \
        2> /dev/null | awk '{ n[$1]++ } END { for (ip in n) print ip ": " n[ip] }'
}

# As it is passed on: every line counts, also when a SYN was logged or sent twice.
one_liner() {
    gawk 'match($0, /SRC=([^ ]+) .* SYN /, m) { n[m[1]]++ }
        END { for (ip in n) print ip ": " n[ip] }' "$1"
}

# The right answer, for IPv4: a SYN that is sent again has the next IP ID.
careful() {
    gawk '/ IN=[^ ]+ OUT= .* SYN / {
            match($0, / SRC=([^ ]+) .* ID=([0-9]+) .* SPT=([0-9]+) DPT=([0-9]+) /, m)
            if (!m[1]) next
            k = m[1] " " m[3] " " m[4]
            if (!(k in id) || m[2] < id[k] || m[2] > id[k] + 8) n[m[1]]++
            id[k] = m[2]
        }
        END { for (ip in n) print ip ": " n[ip] }' "$1"
}

# Appends the seconds that a command takes to $dir/$1; its output goes to $dir/$1.out.
measure() {
    local name=$1 start=$EPOCHREALTIME
    shift
    # A file, and not /dev/null: grep stops early there.
    "$@" > "$dir/$name.out"
    echo "$start $EPOCHREALTIME" | awk '{ printf "%.4f\n", $2 - $1 }' >> "$dir/$name"
}

median() { sort -n "$dir/$1" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }

# Whether two sets of counts are the same where the addresses match a pattern.
agree() {
    cmp -s <(grep -E "$3" "$dir/$1.out" | sort) <(grep -E "$3" "$dir/$2.out" | sort) && return
    echo "$kind: $1 counts differently from $2" >&2
    exit 1
}

row() {
    local name=$1 of=$2 needs=${3:-}
    if [ -n "$needs" ] && ! has "$needs"; then
        printf '  %-28s %10s  %s is not installed\n' "$name" - "$needs"
    else
        awk -v name="$name" -v s="$(median "$of")" -v t="$(median ours)" \
            'BEGIN { printf "  %-28s %8.3f s %8.2f\n", name, s, s / t }'
    fi
}

ipv4='^[0-9]+\.'
# What grep looks for in each text; and what counts the connections in it.
pattern() {
    case $1 in netfilter) echo SYN ;; filterlog) echo ',S,' ;; zeek) echo tcp ;; vpc-flow) echo ' 2$' ;; esac
}

by_awk() {
    case $1 in
        filterlog) awk -F, '$7 == "pass" && $24 == "S" { n[$19]++ } END { for (ip in n) print ip ": " n[ip] }' "$2" ;;
        zeek) awk -F'\t' '$7 == "tcp" { n[$3]++ } END { for (ip in n) print ip ": " n[ip] }' "$2" ;;
        vpc-flow) awk '$11 == 2 { n[$1]++ } END { for (ip in n) print ip ": " n[ip] }' "$2" ;;
    esac
}

for kind in ${KINDS:-pcap headers netfilter filterlog zeek vpc-flow}; do
    record=$dir/$kind
    target/release/examples/genrecord $kind $((500 * percent / 100)) > "$record"
    rm -f "$dir"/{ours,grep,wc,awk,gawk,careful,tcpdump,tshark}
    cat "$record" > /dev/null
    for _ in $(seq "$rounds"); do
        measure ours $tool parse --quiet -F plain "$record"
        case $kind in
            netfilter | filterlog | zeek | vpc-flow)
                measure grep grep -c -e "$(pattern $kind)" "$record"
                measure wc wc -l "$record"
                ;;
            *) ! has tcpdump || measure tcpdump by_tcpdump "$record" ;;
        esac
    done
    awk -v kind=$kind -v size="$(stat -c %s "$record")" -v t="$(median ours)" '
        { n += $NF }
        END {
            printf "%s: %d MB, %d connections, %.0f MB/s\n", kind, size / 1e6, n, size / 1e6 / t
            printf "  %-28s %10s %8s\n", "", "", "/ parse"
        }' "$dir/ours.out"
    row 'tcptally parse' ours
    case $kind in filterlog | zeek | vpc-flow)
        measure awk by_awk $kind "$record"
        agree ours awk "$ipv4"
        row "grep -c '$(pattern $kind)'" grep
        row 'wc -l' wc
        row awk awk
        continue
        ;;
    esac
    if [ $kind = netfilter ]; then
        if has gawk; then
            measure gawk one_liner "$record"
            measure careful careful "$record"
            agree ours careful "$ipv4"
        fi
        row 'grep -c SYN' grep
        row 'wc -l' wc
        row 'gawk match()' gawk gawk
    else
        ! has tcpdump || agree ours tcpdump "$ipv4"
        row 'tcpdump -nr | awk' tcpdump tcpdump
        if has tshark; then
            measure tshark by_tshark "$record"
            agree ours tshark .
        fi
        row 'tshark -nr -Y | awk' tshark tshark
    fi
done
