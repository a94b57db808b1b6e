#!/bin/sh
# Builds the static program for TARGET (`make static`: --only-program) and packs it: `make dist`. Everything lands in target/packages:
# .tar.gz, .deb, .rpm, software bill of materials, SHA256SUMS. Two builds of the same commit give the same bytes, in
# whatever folder; the compilers and the C library must be the same.
#
# TARGET       x86_64-unknown-linux-gnu (default of this machine) or another target whose compiler is installed
# PROFILE      dist, or another of Cargo's profiles, to try these scripts (dev)
# GENERATOR    a tcptally that runs here and prints the manual pages; needed only if that for TARGET does not run
set -eu
umask 022
export LC_ALL=C
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
profile=${PROFILE:-dist}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
arch=${target%%-*}
out=target/packages
root=$out/root
tools=$PWD/target/tools

# Times in the packages are those of the commit.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=$(stat -c %Y Cargo.toml)
fi
export SOURCE_DATE_EPOCH

# Installs a tool that is not there yet into target/tools; hardly optimised, which takes half of the time.
tool() { # NAME VERSION
    [ -x "$tools/bin/$1" ] && "$cargo" install --list --root "$tools" | grep -q "^$1 v$2:" && return
    CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 \
        "$cargo" install --quiet --locked --debug --root "$tools" "$1@$2" >&2
}

# Whether the C library for TARGET is at least of this version.
has_glibc() { # MAJOR MINOR
    printf '#include <features.h>\n#if !__GLIBC_PREREQ(%s, %s)\n#error old\n#endif\n' "$1" "$2" |
        "$compiler" -E -o /dev/null - 2>/dev/null
}

# Flags for rustc, each ended by the separator of CARGO_ENCODED_RUSTFLAGS.
flags() {
    sysroot=$(rustc --print sysroot)
    hash=$(rustc -vV | sed -n 's/^commit-hash: //p')
    # No panic unwinds, so that the tables for it are of no use.
    printf '%s\037' -Ctarget-feature=+crt-static -Cforce-unwind-tables=no
    # Functions are inlined where they are small or called in a loop, and everywhere only if they are marked
    # #[inline(always)]. Unlike -inline-threshold, this leaves the threshold of opt-level "z" as it is.
    printf '%s\037' -Cllvm-args=-inlinehint-threshold=100 -Cllvm-args=-inlinedefault-threshold=30
    printf '%s\037' -Cllvm-args=-locally-hot-callsite-threshold=525
    # Loops are unrolled only where little code comes of it.
    printf '%s\037' -Cllvm-args=-unroll-runtime=false -Cllvm-args=-unroll-allow-partial=false -Cllvm-args=-unroll-threshold=60
    # One function for those that differ only in constants, and for the same instructions in functions at opt-level "z".
    printf '%s\037' -Cllvm-args=-enable-global-merge-func -Cllvm-args=-enable-machine-outliner=optimistic-pgo
    # More of the ends that blocks have in common are merged, and little is left empty before functions and loops.
    printf '%s\037' -Cllvm-args=-tail-merge-threshold=1000
    printf '%s\037' -Cllvm-args=-align-all-functions=2 -Cllvm-args=-max-bytes-for-alignment=5
    # No path of this machine in the program.
    printf '%s\037' "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    printf '%s\037' "--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$hash"
    printf '%s\037' "--remap-path-prefix=$PWD=/tcptally"
    # The linker that comes with Rust folds functions that are the same code, and packs relocations.
    lld=$sysroot/lib/rustlib/$host/bin/gcc-ld
    if [ -x "$lld/ld.lld" ]; then
        printf '%s\037' "-Clink-arg=-B$lld" -Clink-arg=-fuse-ld=lld
        printf '%s\037' -Clink-arg=-Wl,--icf=all -Clink-arg=-Wl,-O2
        # The standard library has tables for unwinding, and its line numbers make LLVM write them for all functions.
        if [ "$arch" = x86_64 ] && [ "$profile" != dev ]; then
            # Relative to the folder that rustc is called in: flags with a folder in them would change the program.
            printf '%s\037' -Clink-arg=-Wl,-T,packaging/no-unwind-tables.ld -Clink-arg=-Wl,--no-eh-frame-hdr
        fi
        # The C library relocates itself in a static program; it can read these since 2.36.
        if has_glibc 2 36; then
            printf '%s\037' -Clink-arg=-Wl,-z,pack-relative-relocs
        fi
    fi
    printf '%s' -Clink-arg=-Wl,--build-id=none
}

compiler=cc
builder=$cargo
if [ "$target" != "$host" ]; then
    compiler=$arch-linux-gnu-gcc
    # It finds a standard library for the target also where rustup has none.
    [ "$target" != aarch64-unknown-linux-gnu ] || builder=contrib/cargo-aarch64
fi

build() {
    # For the C code of zstd and xz: of the compressors of zstd only the one that parquet uses, of its two decoders for
    # Huffman codes the smaller, and no tables for unwinding, since no Rust is called from it.
    cflags="-ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$PWD=/tcptally"
    cflags="$cflags -fno-asynchronous-unwind-tables -fno-unwind-tables"
    cflags="$cflags -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT"
    for compressor in DFAST GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA; do
        cflags="$cflags -DZSTD_EXCLUDE_${compressor}_BLOCK_COMPRESSOR"
    done
    name=$(echo "$target" | tr - _)
    linker=CARGO_TARGET_$(echo "$name" | tr '[:lower:]' '[:upper:]')_LINKER
    if [ "$arch" = aarch64 ]; then
        # rustc makes static programs for this target that are not position-independent.
        eval "export STATIC_PIE_COMPILER=\"\${$linker:-$compiler}\" $linker=\"\$PWD/packaging/static-pie-gcc\""
    elif [ "$target" != "$host" ]; then
        eval "export $linker=\${$linker:-$compiler}"
    fi
    env "CFLAGS_$name=$cflags" CARGO_ENCODED_RUSTFLAGS="$(flags)" \
        "$builder" build --locked --profile "$profile" --bin tcptally --target "$target"
}

# What is installed, as it is in the packages.
stage() {
    generator=${GENERATOR:-$program}
    "$generator" --version >/dev/null 2>&1 || {
        "$cargo" build --quiet --locked --bin tcptally
        generator=${CARGO_TARGET_DIR:-target}/debug/tcptally
    }
    rm -rf "$root"
    make --no-print-directory --silent install BIN="$generator" PREFIX=/usr DESTDIR="$root"
    install -m 755 "$program" "$root/usr/bin/tcptally"
    gzip -9 -n "$root"/usr/share/man/man1/*.1
    unit=contrib/systemd/tcptally-watch@.service
    install -d "$root/usr/lib/systemd/system"
    sed 's|/usr/local/bin/|/usr/bin/|' "$unit" >"$root/usr/lib/systemd/system/${unit##*/}"
    doc=$root/usr/share/doc/tcptally
    for file in README.md CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md SECURITY.md LICENSE-APACHE LICENSE-MIT \
        docs/*.md docs/*.json docs/pictures/*.svg docs/pictures/*.png contrib/prometheus/* contrib/kubernetes/* \
        contrib/container/*; do
        install -D -m 644 "$file" "$doc/$file"
    done
    install -m 644 packaging/copyright "$doc/copyright"
    install -m 644 "$out/$bill.json" "$doc/tcptally.cdx.json"
}

# Which crates, in which versions and under which licences, the program consists of.
bill_of_materials() {
    tool cargo-cyclonedx 0.5.9
    bill=tcptally-$version-$arch.cdx
    PATH=$tools/bin:$PATH "$cargo" cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$target" \
        --override-filename "$bill"
    sed "s|file://$PWD|file:///tcptally|g" "$bill.json" >"$out/$bill.json"
    rm "$bill.json"
}

tarball() {
    name=tcptally-$version-$arch-linux
    rm -rf "${out:?}/$name"
    cp -a "$root/usr" "$out/$name"
    cp LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md "$out/$name"
    tar -C "$out" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX -cf - "$name" | gzip -9 -n >"$out/$name.tar.gz"
    rm -rf "${out:?}/$name"
}

packages() {
    tool cargo-deb 3.8.0
    tool cargo-generate-rpm 0.21.1
    "$tools/bin/cargo-deb" --quiet --no-build --no-strip --profile "$profile" --target "$target" --output "$out/"
    "$tools/bin/cargo-generate-rpm" generate-rpm --profile "$profile" --target "$target" --output "$out/" \
        --arch "$arch" --source-date "$SOURCE_DATE_EPOCH" --auto-req disabled
}

build
folder=$profile
if [ "$profile" = dev ]; then folder=debug; fi
program=${CARGO_TARGET_DIR:-target}/$target/$folder/tcptally
if [ "${1:-}" = --only-program ]; then
    ls -l "$program"
    exit 0
fi
mkdir -p "$out"
bill_of_materials
stage
tarball
packages
(cd "$out" && sha256sum -- *.tar.gz *.deb *.rpm *.json >SHA256SUMS)
echo "$out:"
(cd "$out" && ls -l -- *.tar.gz *.deb *.rpm *.json SHA256SUMS "$OLDPWD/$program" | awk '{ print "  " $5, $NF }')
