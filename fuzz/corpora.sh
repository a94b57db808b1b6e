#!/bin/sh
# Minimises what the fuzz targets have found, together with the corpora in testdata/fuzz, and replaces those:
#
#   fuzz/corpora.sh [KIB]      at most so many KiB for each target, 64 by default
set -eu
cd "$(dirname "$0")/.."
limit=$((${1:-64} * 1024))
cargo=${CARGO:-cargo}

for target in $("$cargo" fuzz list); do
    kept=testdata/fuzz/$target
    merged=fuzz/corpus/$target.merged
    mkdir -p "fuzz/corpus/$target" "$kept"
    rm -rf "$merged"
    mkdir "$merged"
    "$cargo" +nightly fuzz run "$target" "$merged" "fuzz/corpus/$target" "$kept" -- \
        -set_cover_merge=1 -max_len=4000 -timeout=20
    # The seeds of a format are kept; of the others the smallest.
    find "$kept" -type f ! -name 'seed-*' -delete
    size=0
    for file in $(ls -rS "$merged"); do
        size=$((size + $(wc -c <"$merged/$file")))
        [ "$size" -le "$limit" ] || break
        cp "$merged/$file" "$kept/"
    done
    rm -rf "$merged"
    echo "$target: $(find "$kept" -type f | wc -l) files, $(du -sk --apparent-size "$kept" | cut -f 1) KiB"
done
