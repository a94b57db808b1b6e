#!/bin/bash
# Tests what `make dist` makes: `make test-dist`. Builds it twice from the last commit, in two folders, and the crate
# once, so it takes some 20 minutes. Needs root and Debian's busybox-static, debootstrap, musl and rpm; what is missing
# is installed where it may be (TCPTALLY_NO_INSTALL=1 forbids it), or skipped.
#
#   packaging/test.sh [CASE]...     the cases are the functions below, case_NAME
#
# MIRROR is that of debootstrap. ARCH=aarch64 DIST=target/packages packaging/test.sh sums binary foreign tests the packages for
# another architecture, as far as emulation can. DIST=FOLDER takes packages that are there instead of building them (case reproducible is then skipped).
set -uo pipefail
umask 022
cd "$(dirname "$0")/.."
repo=$PWD
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
arch=${ARCH:-$(uname -m)}
limit=6000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
passed=0 failed=0 skipped=0

# What a case says of its result: figures for docs/packaging.md.
say() { printf '%s\n' "$*" >>"$work/said"; }
fail() { echo "$*" >&2; exit 1; }
skip() { say "$*"; exit 77; }

run() { # NAME: a case in a process of its own
    : >"$work/said"
    (set -e; "case_$1") >"$work/log" 2>&1
    case $? in
    0) passed=$((passed + 1)); printf '%s ... ok (%s)\n' "$1" "$(paste -sd';' "$work/said")" ;;
    77) skipped=$((skipped + 1)); printf '%s ... skipped: %s\n' "$1" "$(paste -sd';' "$work/said")" ;;
    *) failed=$((failed + 1)); printf '%s ... FAILED\n' "$1"; sed 's/^/    /' "$work/log" ;;
    esac
}

need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || [ -e "$1" ] && return
    if [ -z "${TCPTALLY_NO_INSTALL:-}" ] && [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$2" </dev/null >&2 || true
    fi
    command -v "$1" >/dev/null || [ -e "$1" ] || skip "there is no $1 (Debian package $2)"
}

as_root() { [ "$(id -u)" = 0 ] || skip "only root can chroot"; }

# Runs a shell command inside of a root folder, with namespaces of its own: /proc, network with loopback.
inside() { # ROOT COMMAND
    mkdir -p "$1/proc" "$1/dev" "$1/tmp"
    unshare --mount --net --pid --fork --kill-child sh -c '
        mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/tmp" && mount --bind /dev "$1/dev" || exit 1
        ip link set lo up 2>/dev/null || busybox ip link set lo up || exit 1
        HOME=/tmp exec chroot "$1" /bin/sh -c "$2"' sh "$1" "$2"
}

# Counts 3 connections in ROOT in every way; the shell there is busybox.
counts_inside() { # ROOT
    local answer
    cat >"$1/check.sh" <<'CHECK'
set -e
tcptally=$(command -v tcptally || echo /tcptally)
$tcptally --version
mkdir -p /tmp/www
echo hello >/tmp/www/index.html
ask() { for _ in 1 2 3; do busybox wget -q -O /dev/null http://127.0.0.1:8077/; done; }
up() { for _ in $(busybox seq 200); do
    busybox netstat -ltn | busybox grep -q :8077 && return; busybox sleep 0.1; done; exit 1; }
ends() { for _ in $(busybox seq 200); do
    busybox netstat -ltn | busybox grep -q :8077 || return 0; busybox sleep 0.1; done; exit 1; }

# A server that tcptally starts.
$tcptally trace --no-config -q -F plain -o /tmp/started -- busybox httpd -f -p 8077 -h /tmp/www &
tracer=$!
up; ask; kill -TERM $tracer
wait $tracer || true
ends
echo "started: $(busybox cat /tmp/started)"

# A running server: attached to, and watched.
busybox httpd -f -p 8077 -h /tmp/www &
server=$!
up
$tcptally trace --no-config -p $server -F plain -o /tmp/attached 2>/tmp/attach.log &
tracer=$!
$tcptally watch --no-config --port 8077 -F plain -o /tmp/watched 2>/tmp/watch.log &
watcher=$!
for log in attach watch; do
    for _ in $(busybox seq 200); do [ -s /tmp/$log.log ] && break; busybox sleep 0.1; done
done
busybox sleep 1
ask
busybox sleep 2
kill -INT $tracer $watcher
wait $tracer $watcher || true
kill $server
echo "attached: $(busybox cat /tmp/attached)"
echo "watched: $(busybox cat /tmp/watched)"

# A record.
echo '12:00:00.000001 accept4(3, {sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("127.0.0.1")}, [16], 0) = 5' |
    $tcptally parse --no-config -F plain >/tmp/parsed
echo "parsed: $(busybox cat /tmp/parsed)"
CHECK
    answer=$(inside "$1" 'busybox sh /check.sh' 2>&1) || { echo "$answer"; exit 1; }
    rm "$1/check.sh"
    echo "$answer"
    for line in "tcptally $version" 'started: 127.0.0.1: 3' 'attached: 127.0.0.1: 3' 'watched: 127.0.0.1: 3' \
        'parsed: 127.0.0.1: 1'; do
        grep -qxF "$line" <<<"$answer" || fail "no '$line'"
    done
}

# A root with busybox alone.
bare_root() { # ROOT
    need busybox busybox-static
    ! ldd "$(command -v busybox)" >/dev/null 2>&1 || skip "busybox is not static (Debian package busybox-static)"
    mkdir -p "$1/bin"
    cp "$(command -v busybox)" "$1/bin/busybox"
    ln -sf busybox "$1/bin/sh"
}

case_build() {
    [ -z "${DIST:-}" ] || { cp -r "$DIST" "$work/first"; return; }
    git clone -q . "$work/a"
    make -C "$work/a" dist
    cp -r "$work/a/target/packages" "$work/first"
    rm -rf "$work/a/target"
}

case_sums() {
    cd "$work/first"
    sha256sum -c --quiet SHA256SUMS
    for kind in "$version-$arch-linux.tar.gz" .deb .rpm .cdx.json; do
        ls *"$kind" >/dev/null
        grep -qF -- "$kind" SHA256SUMS || fail "SHA256SUMS lacks $kind"
    done
    say "$(stat -c '%n %s' -- *.tar.gz *.deb *.rpm *.json)"
}

case_binary() {
    program=$work/first/root/usr/bin/tcptally
    size=$(stat -c %s "$program")
    say "$size bytes"
    ! readelf -l "$program" | grep INTERP || fail "it needs a dynamic linker"
    ! readelf -d "$program" | grep NEEDED || fail "it needs a library"
    readelf -h "$program" | grep -q DYN || fail "it is not position-independent"
    ! readelf -S "$program" | grep -E 'symtab|debug|build-id' || fail "it has symbols"
    ! grep -aq -e "$repo" -e "$work" -e "${CARGO_HOME:-$HOME/.cargo}" "$program" || fail "it has paths of this machine"
    [ "$size" -lt "$limit" ] || fail "more than $limit bytes: $size"
}

case_bare_root() {
    as_root
    bare_root "$work/bare"
    tar -xzf "$work"/first/*.tar.gz --strip-components=1 -C "$work/bare"
    counts_inside "$work/bare"
}

# Alpine: busybox and musl.
case_alpine_like_root() {
    as_root
    need "/lib/ld-musl-$arch.so.1" musl
    bare_root "$work/alpine"
    mkdir -p "$work/alpine/lib"
    cp "/lib/ld-musl-$arch.so.1" "$work/alpine/lib/"
    tar -xzf "$work"/first/*.tar.gz --strip-components=1 -C "$work/alpine"
    counts_inside "$work/alpine"
}

# Rocky: the rpm, with a database of its own.
case_rpm() {
    as_root
    need rpm rpm
    root=$work/rocky
    bare_root "$root"
    before=$(cd "$root" && find . | sort)
    ! rpm -qp --requires "$work"/first/*.rpm | grep -vE '^(rpmlib\(|/bin/sh$)' || fail "it requires packages"
    rpm -qpl "$work"/first/*.rpm
    rpm --root "$root" --dbpath /rpmdb --initdb
    # /bin/sh is busybox, in no package.
    rpm --root "$root" --dbpath /rpmdb --nodeps -i "$work"/first/*.rpm | tee "$work/said.rpm"
    grep -q CAP_PERFMON "$work/said.rpm" || fail "CAP_PERFMON is not offered"
    has_files "$root" usr/share/zsh/site-functions/_tcptally
    counts_inside "$root"
    rpm --root "$root" --dbpath /rpmdb -e tcptally
    rm -rf "$root/rpmdb"
    rmdir "$root/tmp" "$root/dev" "$root/proc"
    after=$(cd "$root" && find . -not -type d | sort)
    before=$(grep -E 'busybox|bin/sh' <<<"$before")
    [ "$before" = "$after" ] || fail "it leaves $(diff <(echo "$before") <(echo "$after"))"
}

has_files() { # ROOT FILE...
    local root=$1
    shift
    for file in usr/share/man/man1/tcptally.1.gz usr/share/man/man1/tcptally-trace.1.gz usr/share/doc/tcptally/README.md \
        usr/share/doc/tcptally/docs/engines.md usr/share/doc/tcptally/copyright usr/lib/systemd/system/tcptally-watch@.service \
        usr/share/doc/tcptally/tcptally.cdx.json \
        usr/share/bash-completion/completions/tcptally usr/share/fish/vendor_completions.d/tcptally.fish "$@"; do
        [ -s "$root/$file" ] || fail "no $file"
    done
    grep -q '^ExecStart=/usr/bin/tcptally ' "$root/usr/lib/systemd/system/tcptally-watch@.service"
    [ -z "$(getcap "$root/usr/bin/tcptally" 2>/dev/null)" ] || fail "it has capabilities"
    [ "$(stat -c '%a %u' "$root/usr/bin/tcptally")" = '755 0' ] || fail "modes"
}

# A Debian as debootstrap makes it.
case_deb() {
    as_root
    need debootstrap debootstrap
    root=$work/debian
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
    debootstrap --variant=minbase --include=busybox "$suite" "$root" ${MIRROR:+"$MIRROR"} ||
        skip "debootstrap cannot install here"
    listed() { (cd "$root" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -path ./var/cache -prune -o \
        -path ./tmp -prune -o -path ./proc -prune -o -path ./dev -prune -o -print | sort); }
    before=$(listed)
    cp "$work"/first/*.deb "$root/tmp/"
    inside_keeping_tmp "$root" 'dpkg -i /tmp/*.deb' | tee "$work/said.deb"
    grep -q CAP_PERFMON "$work/said.deb" || fail "CAP_PERFMON is not offered"
    has_files "$root" usr/share/zsh/vendor-completions/_tcptally
    counts_inside "$root"
    inside "$root" 'dpkg --verify tcptally && dpkg -s tcptally'
    inside "$root" 'dpkg -r tcptally && dpkg -P tcptally || dpkg -P tcptally'
    ! inside "$root" 'dpkg -s tcptally' || fail "dpkg still knows it"
    after=$(listed)
    [ "$before" = "$after" ] || fail "it leaves $(diff <(echo "$before") <(echo "$after"))"
    say "$suite"
}

inside_keeping_tmp() { chroot "$1" /bin/sh -c "$2"; }

# Packages for another architecture: what they contain, and the program in emulation, which knows no ptrace(2).
case_foreign() {
    [ "$arch" != "$(uname -m)" ] || skip "the packages are for this machine"
    need "qemu-$arch-static" qemu-user-static
    need rpm2cpio rpm2cpio
    need busybox busybox-static
    root=$work/foreign
    mkdir -p "$root"
    dpkg-deb -x "$work"/first/*.deb "$root"
    has_files "$root" usr/share/zsh/vendor-completions/_tcptally
    [ "$(dpkg-deb -f "$work"/first/*.deb Architecture)" = "${arch/aarch64/arm64}" ] || fail "architecture of the .deb"
    [ "$(rpm -qp --qf '%{arch}' "$work"/first/*.rpm)" = "$arch" ] || fail "architecture of the .rpm"
    # rpm2cpio of rpm 4.18 fails also after it has written everything; the files are compared.
    (mkdir "$work/foreign-rpm" && cd "$work/foreign-rpm" && { rpm2cpio "$work"/first/*.rpm || true; } | busybox cpio -id)
    has_files "$work/foreign-rpm" usr/share/zsh/site-functions/_tcptally
    cmp "$root/usr/bin/tcptally" "$work/foreign-rpm/usr/bin/tcptally"
    tar -xzf "$work"/first/*.tar.gz --strip-components=1 -C "$work/foreign-rpm"
    cmp "$root/usr/bin/tcptally" "$work/foreign-rpm/bin/tcptally"
    emulated() { "qemu-$arch-static" "$root/usr/bin/tcptally" "$@"; }
    emulated --version | grep -qx "tcptally $version"
    # Manual pages and completions are those of this program, whatever printed them.
    emulated man trace | cmp - <(gunzip -c "$root/usr/share/man/man1/tcptally-trace.1.gz")
    emulated completions bash | cmp - "$root/usr/share/bash-completion/completions/tcptally"
    record='12:00:00.000001 accept4(3, {sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("127.0.0.1")}, [16], 0) = 5'
    [ "$(emulated parse --no-config -F plain <<<"$record")" = '127.0.0.1: 1' ] || fail "parse"
    for packer in gzip xz bzip2 zstd lz4; do
        command -v $packer >/dev/null || { say "no $packer"; continue; }
        $packer -c <<<"$record" >"$work/packed"
        [ "$(emulated parse --no-config -F plain "$work/packed")" = '127.0.0.1: 1' ] || fail "a record packed by $packer"
    done
    emulated parse --no-config -F parquet -o "$work/foreign.parquet" <<<"$record"
    [ "$(emulated parse --no-config -F plain "$work/foreign.parquet")" = '127.0.0.1: 1' ] || fail "parquet"
    say "$arch by $("qemu-$arch-static" --version | head -n 1 | cut -d' ' -f1,3)"
}

case_lintian() {
    need lintian lintian
    # The program is static on purpose, there is no address for mail, and the changelog is that of upstream.
    lintian --fail-on error --allow-root --suppress-tags statically-linked-binary,malformed-contact,no-changelog \
        "$work"/first/*.deb
}

# The folder that the Dockerfile describes, made by hand, for want of a container engine.
case_image() {
    as_root
    image=$work/image
    mkdir -p "$image"
    context=$work/first/root/usr/bin
    while read -r instruction first second; do
        case $instruction in
        FROM) [ "$first" = scratch ] || fail "FROM $first" ;;
        COPY) cp "$context/$first" "$image$second" ;;
        USER) user=$first ;;
        ENTRYPOINT) entry=$(sed 's/\["\(.*\)"\]/\1/' <<<"$first") ;;
        '#'* | '') ;;
        *) fail "unknown instruction $instruction" ;;
        esac
    done <contrib/container/Dockerfile
    [ "$(find "$image" -type f | wc -l)" = 1 ] || fail "more than the program"
    chroot --userspec="$user" "$image" "$entry" --version
    say "USER $user"
    mkdir "$image/proc"
    # As `docker run --network=host tcptally watch` does it: no capability.
    port=$(free_port)
    python3 -m http.server "$port" --bind 127.0.0.1 --directory "$work/first" &
    server=$!
    until_listening "$port"
    unshare --mount sh -c 'mount -t proc proc "$1/proc" && exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid \
        chroot --userspec="$2" "$1" "$3" watch --no-config --port "$4" -F plain' \
        sh "$image" "$user" "$entry" "$port" >"$work/watched" 2>"$work/watching" &
    watcher=$!
    # As `docker run --pid=host --cap-add=SYS_PTRACE --cap-add=PERFMON --user=0` does it, with Docker's capabilities.
    docker=+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap
    unshare --mount sh -c 'mount -t proc proc "$1/proc" && exec setpriv --bounding-set="-all,$5,+sys_ptrace,+perfmon" \
        chroot "$1" "$3" trace --no-config --port "$4" -F plain' \
        sh "$image" "$user" "$entry" "$port" "$docker" >"$work/traced" 2>"$work/tracing" &
    tracer=$!
    until_says "$work/watching" 'watching port'
    until_says "$work/tracing" 'attached to'
    for _ in 1 2 3; do python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).recv(0)"; done
    kill "$watcher" "$tracer"
    wait "$watcher" "$tracer" || true
    kill "$server"
    cat "$work/watching" "$work/tracing" "$work/watched" "$work/traced"
    grep -qx '127.0.0.1: 3' "$work/watched" || fail "watch"
    grep -qx '127.0.0.1: 3' "$work/traced" || fail "trace"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

until_says() { # FILE TEXT
    for _ in $(seq 1200); do grep -q "$2" "$1" && return; sleep 0.05; done
    fail "no '$2' in $(cat "$1")"
}

until_listening() { # PORT
    for _ in $(seq 200); do ss -ltn | grep -q ":$1 " && return; sleep 0.05; done
    fail "nothing listens on $1"
}

# The same Dockerfile in a real engine, where there is one.
case_image_by_buildah() {
    as_root
    command -v buildah >/dev/null || skip "there is no buildah"
    buildah --storage-driver vfs --root "$work/store" --runroot "$work/storerun" bud --isolation chroot \
        -f contrib/container/Dockerfile -t tcptally:test "$work/first/root/usr/bin" ||
        fail "buildah"
    id=$(buildah --storage-driver vfs --root "$work/store" --runroot "$work/storerun" from tcptally:test)
    buildah --storage-driver vfs --root "$work/store" --runroot "$work/storerun" run --isolation chroot "$id" -- \
        /tcptally --version
}

# What docs/packaging.md promises of CAP_PERFMON: an ordinary user attaches to another user's server.
case_capability() {
    as_root
    need busybox busybox-static
    need setcap libcap2-bin
    [ "$(cat /proc/sys/kernel/perf_event_paranoid)" -le 2 ] || skip "kernel.perf_event_paranoid is above 2"
    mkdir -p "$work/cap/www"
    cp "$work/first/root/usr/bin/tcptally" "$work/cap/"
    chmod 755 "$work" "$work/cap"
    port=$(free_port)
    setpriv --reuid=1 --regid=1 --clear-groups busybox httpd -f -p "127.0.0.1:$port" -h "$work/cap/www" &
    server=$!
    until_listening "$port"
    trace() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$work/cap/tcptally" \
        trace --no-config -p "$server" -F plain "$@"; }
    ! trace -d 1s || fail "it needs no capability"
    setcap cap_perfmon+ep "$work/cap/tcptally"
    trace -d 20s >"$work/cap/count" 2>"$work/cap/log" &
    for _ in $(seq 300); do grep -q 'attached to' "$work/cap/log" && break; sleep 0.1; done
    for _ in 1 2 3; do busybox wget -q -O /dev/null "http://127.0.0.1:$port/" || true; done
    wait $! || true
    kill "$server"
    cat "$work/cap/log" "$work/cap/count"
    grep -qx '127.0.0.1: 3' "$work/cap/count" || fail "not counted"
}

# What `cargo install` gets, which has neither .git nor the tests.
case_crate() {
    git clone -q . "$work/c"
    (cd "$work/c" && cargo package --quiet --no-verify)
    crate=$work/c/target/package/tcptally-$version.crate
    size=$(stat -c %s "$crate")
    say "$size bytes"
    [ "$size" -lt 1000000 ] || fail "not under 1 MB"
    tar -xzf "$crate" -C "$work"
    ! find "$work/tcptally-$version" | grep -E '/(testdata|tests|fuzz|packaging)(/|$)' || fail "not for users"
    nice -n 10 cargo install --quiet --locked --path "$work/tcptally-$version" --root "$work/installed" \
        --target-dir "$work/crate-target"
    "$work/installed/bin/tcptally" --version | grep -qx "tcptally $version"
    say "installed: $(stat -c %s "$work/installed/bin/tcptally") bytes"
    (cd "$work/tcptally-$version" && RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --lib \
        --target-dir "$work/crate-target")
    rm -rf "$work/crate-target"
}

# The DaemonSet against the schemas of the API, of every version that the validator has.
case_daemonset() {
    python3 -m venv "$work/venv" || skip "python3 has no venv (Debian package python3-venv)"
    "$work/venv/bin/pip" install --quiet kubernetes-validate || skip "pip cannot install kubernetes-validate"
    say "$("$work/venv/bin/python" packaging/validate.py contrib/kubernetes/tcptally-watch.yaml)"
}

# Two builds, in folders with names of different lengths, give the same bytes.
case_reproducible() {
    [ -z "${DIST:-}" ] || skip "DIST is given"
    other=$work/another-folder/with/a/longer/name
    mkdir -p "${other%/*}"
    git clone -q . "$other"
    make -C "$other" dist
    diff "$work/first/SHA256SUMS" "$other/target/packages/SHA256SUMS"
    cmp "$work/first/root/usr/bin/tcptally" "$other/target/packages/root/usr/bin/tcptally"
}

export work
cases=${*:-build sums binary bare_root alpine_like_root rpm deb lintian image image_by_buildah capability daemonset crate reproducible}
case " $cases " in *' build '*) ;; *) [ -n "${DIST:-}" ] && cp -r "$DIST" "$work/first" ;; esac
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "The tree has changes that are not committed; the last commit is tested."
for name in $cases; do run "$name"; done
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
