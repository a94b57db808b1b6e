#!/bin/sh
# Boots Debian's kernels in virtual machines, runs tests inside each, and prints a table.
#
#   tests/kernels/kernels.sh [KERNEL]...      by default all of the list below
#
# Needs Debian or a relative of it (apt, its mirror and its keys), qemu-system-x86, busybox-static and
# xz-utils; packages, root and results stay in target/kernels. KVM is used where it works; else the processor is
# emulated, which takes some minutes for each kernel (QEMU="..." replaces the whole choice).
# ARCH=arm64 does so for AArch64, in emulation: with Debian's own packages for arm64 as the root, and with
# contrib/cargo-aarch64, qemu-system-arm and gcc-aarch64-linux-gnu (also gcc-arm-linux-gnueabihf, for 32-bit servers).
# PROGRAM=FILE is tested instead of the development build: what `make static` or `make build-aarch64` made.
# FETCH_ONLY=1 downloads the kernels alone. SUITE='FILTER...' runs these tests of tests/trace too; CASES='WORD...' and SETTINGS=WORD select
# cases and settings, and with CASES nothing else runs.
set -eu
cd "$(dirname "$0")/../.."

arch=${ARCH:-amd64}
# Name, suite, package.
case $arch in
amd64) kernels='
5.10      bullseye linux-image-amd64
6.1       bookworm linux-image-amd64
6.1-rt    bookworm linux-image-rt-amd64
6.1-cloud bookworm linux-image-cloud-amd64
6.12      trixie   linux-image-amd64
6.12-rt   trixie   linux-image-rt-amd64
7.2       forky    linux-image-amd64
' ;;
arm64) kernels='
5.10      bullseye linux-image-arm64
6.1       bookworm linux-image-arm64
6.12      trixie   linux-image-arm64
7.2       forky    linux-image-arm64
' ;;
*) echo "$0: ARCH is amd64 or arm64" >&2 && exit 1 ;;
esac

target=${CARGO_TARGET_DIR:-$PWD/target}
if [ "$arch" = arm64 ]; then
    built=$target/aarch64-unknown-linux-gnu
    home=$target/kernels-arm64
    cargo=contrib/cargo-aarch64
    tools=aarch64-linux-gnu-
    compiler=aarch64-linux-gnu-gcc
else
    built=$target
    home=$target/kernels
    cargo=${CARGO:-cargo}
    tools=
    compiler=cc
fi
memory=${MEMORY:-2048}
limit=${LIMIT:-7200}

die() {
    echo "$0: $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null || die "$1 is missing; apt-get install $2"
}

# The mirror that this machine takes Debian from.
mirror() {
    # shellcheck disable=SC2016 # apt replaces it.
    apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# Runs an apt command on another suite, without a change of this machine: in_suite SUITE apt-get ...
in_suite() {
    state=$home/apt/$1
    command=$2
    shift 2
    "$command" -qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" "$@"
}

# The packages of a kernel: the one that the given package depends on, and the parts of that.
packages() {
    image=$(in_suite "$1" apt-cache show "$2" | sed -n 's/^Depends:.*\(linux-image-[^ ,]*\).*/\1/p' | head -n 1)
    [ -n "$image" ] || die "$1 has no $2"
    echo "$image"
    in_suite "$1" apt-cache show "$image" | sed -n 's/^Depends: //p' | tr ',' '\n' |
        sed -n 's/^ *\(linux-\(binary\|modules\)-[^ ]*\).*/\1/p'
}

# Lets in_suite know the packages of a suite.
update_suite() {
    uri=$(mirror)
    [ -n "$uri" ] || die "apt has no source of Debian"
    state=$home/apt/$1
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    echo "deb $uri $1 main" >"$state/sources.list"
    : >"$state/status"
    in_suite "$1" apt-get update
}

# Downloads and unpacks a kernel, once: fetch NAME SUITE PACKAGE.
fetch() {
    folder=$home/kernel/$1
    [ ! -e "$folder/vmlinuz" ] || return 0
    mkdir -p "$folder/deb" "$folder/files"
    update_suite "$2"
    for package in $(packages "$2" "$3"); do
        (cd "$folder/deb" && in_suite "$2" apt-get download "$package")
    done
    for deb in "$folder"/deb/*.deb; do
        dpkg-deb -x "$deb" "$folder/files"
    done
    mkdir -p "$folder/root/modules"
    for module in inet_diag tcp_diag; do
        find "$folder/files" -name "$module.ko*" | while read -r file; do
            case $file in
            *.xz) xz -dc "$file" ;;
            *.zst) zstd -dqc "$file" ;;
            *) cat "$file" ;;
            esac >"$folder/root/modules/$module.ko"
        done
    done
    (cd "$folder/root" && find . | busybox cpio -o -R 0:0 -H newc >../modules.cpio 2>/dev/null)
    cp "$(find "$folder/files" -name 'vmlinuz*' | head -n 1)" "$folder/vmlinuz"
    rm -rf "$folder/deb" "$folder/files" "$folder/root"
}

# Copies a program to the same place in the root, with the libraries that it needs.
install_program() {
    mkdir -p "$root$(dirname "$1")"
    cp -L "$1" "$root$1"
    { ldd "$1" 2>/dev/null || true; } | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
        [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; }
    done
}

# The programs that the tests call, copied from this machine.
install_programs() {
    for program in setsid setpriv prlimit nginx redis-server haproxy memcached node; do
        path=$(PATH=$PATH:/usr/sbin:/sbin command -v $program) || continue
        install_program "$path"
    done
    if [ -x /usr/bin/python3 ]; then
        install_program /usr/bin/python3
        mkdir -p "$root/usr/lib"
        cp -r /usr/lib/python3.* "$root/usr/lib/"
        rm -rf "$root"/usr/lib/python3.*/test "$root"/usr/lib/python3.*/config-*
    fi
    cp -L "$(command -v busybox)" "$root/bin/busybox"
    # Busybox's own shell runs its pidof and setpriv, whatever PATH says.
    install_program "$(command -v dash)"
    mkdir -p "$root/bin"
    cp -L "$(command -v dash)" "$root/bin/sh"
}

# The same from Debian's packages, with all that these depend on.
unpack_programs() {
    base=$home/base
    programs='busybox-static dash util-linux nginx-light redis-server haproxy memcached nodejs python3 tzdata'
    if [ "$(cat "$base/complete" 2>/dev/null)" != "$programs" ]; then
        rm -rf "$base"
        mkdir -p "$base/root"
        update_suite bookworm
        # shellcheck disable=SC2086 # Several words.
        in_suite bookworm apt-get -y --no-install-recommends --download-only install $programs
        for deb in "$home"/apt/bookworm/cache/archives/*.deb; do
            dpkg-deb -x "$deb" "$base/root"
        done
        # Busybox's own shell runs its pidof, whatever PATH says.
        ln -sf dash "$base/root/bin/sh"
        (cd "$base/root" && rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/perl* usr/lib/*/perl* usr/share/info)
        echo "$programs" >"$base/complete"
    fi
    cp -a "$base/root/." "$root/"
}

# The root that all kernels share: the tests, and what they call.
build_root() {
    root=$home/root
    rm -rf "$root"
    mkdir -p "$root"
    [ "$arch" = amd64 ] || unpack_programs
    mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/etc" "$root/run" "$root/var/lib/nginx" \
        "$root/var/log/nginx"
    [ "$arch" != amd64 ] || install_programs
    printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\nwww-data:x:33:\n' >"$root/etc/group"
    # The unit tests run inside, too, where the processor is another one than that of this machine.
    units=
    [ "$arch" = amd64 ] || units=--lib
    # shellcheck disable=SC2086 # An option or nothing.
    messages=$("$cargo" test --locked --no-run --bins $units --test kernels --test trace --message-format=json 2>"$home/build.log") ||
        die "the tests do not compile; see $home/build.log"
    executable() {
        echo "$messages" | sed -n "s/.*\"kind\":\[\"$2\"\].*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -n 1
    }
    for test in kernels trace; do
        program=$(executable "$test" test)
        [ -x "$program" ] || die "cargo does not say where the test $test is"
        [ "$arch" != amd64 ] || { install_program "$program" && rm "$root$program"; }
        "${tools}strip" "$program" -o "$root/bin/test-$test"
    done
    if [ -n "$units" ]; then
        "${tools}strip" "$(executable tcptally lib)" -o "$root/bin/test-units"
        mkdir -p "$root$PWD"
        cp -r testdata src "$root$PWD/"
    fi
    # The tests know the program, the C server and the documents by their absolute names.
    mkdir -p "$root$built/debug" "$root$built/tmp" "$root$PWD/docs"
    "${tools}strip" "${PROGRAM:-$built/debug/tcptally}" -o "$root$built/debug/tcptally"
    cp README.md "$root$PWD/"
    cp docs/*.md "$root$PWD/docs/"
    $compiler -O1 -pthread -o "$root/server" tests/tracees/server/*.c
    # A 32-bit one needs no library of the root.
    if [ "$arch" = arm64 ] && command -v arm-linux-gnueabihf-gcc >/dev/null; then
        arm-linux-gnueabihf-gcc -static -O1 -pthread -o "$root/server32" tests/tracees/server/*.c
    fi
    cat >"$root/bin/cc" <<'END'
#!/bin/sh
# Compiles one program: the C server of the tests.
server=/server
for word; do
    [ "$word" != -m32 ] || server=/server32
done
while [ "$1" != -o ]; do shift; done
cp $server "$2"
END
    if command -v go >/dev/null; then
        GO111MODULE=off CGO_ENABLED=0 GOARCH=$arch GOCACHE=$home/go go build -o "$root/go-server" tests/tracees/server.go
        cp "$root/bin/cc" "$root/bin/go"
        sed -i 's/^# .*/# Compiles one program: the Go server of the tests./; s/^server=.*/server=\/go-server/' "$root/bin/go"
        chmod 755 "$root/bin/go"
    fi
    chmod 755 "$root/bin/cc"
    cp tests/kernels/init.sh "$root/init"
    chmod 755 "$root/init"
    mkdir -p "$root$PWD/tests/tracees"
    cp -r tests/tracees/server "$root$PWD/tests/tracees/"
    {
        # Debian's own value is 3. The last setting of the cases cannot be taken back.
        echo 'echo 2 >/proc/sys/kernel/perf_event_paranoid'
        if [ -z "${CASES:-}" ]; then
            [ -z "$units" ] || echo 'test-units --test-threads=1'
            echo "test-trace --nocapture --test-threads=1 readme && echo '@recipes'"
        fi
        [ -z "${SUITE:-}" ] || echo "test-trace --test-threads=1 $SUITE"
        echo "export TCPTALLY_MAY_SET_SYSCTLS=1 TCPTALLY_KERNEL_SETTINGS='${SETTINGS:-}'"
        for word in ${CASES:-all}; do
            [ -n "${CASES:-}" ] || word=
            echo "TCPTALLY_KERNEL_CASES='$word' test-kernels --ignored --nocapture --test-threads=1 each_count"
        done
        # shellcheck disable=SC2016 # The shell inside does.
        echo 'dmesg | grep -E "BUG|WARNING|Oops|Call Trace|lockdep|hung task|soft lockup" | sed "s/^/@complaint /"'
    } >"$root/run-these"
    (cd "$root" && find . | busybox cpio -o -R 0:0 -H newc >../root.cpio 2>/dev/null)
}

# How to run a virtual machine here.
machine() {
    if [ "$arch" = arm64 ]; then
        # This processor also runs 32-bit programs. Its clock counts instructions, so that no test waits in vain where
        # this machine is busy, or stops the virtual one for minutes.
        echo 'qemu-system-aarch64 -M virt -cpu cortex-a57 -accel tcg -smp 2 -icount shift=4,sleep=off'
    elif [ -w /dev/kvm ] && timeout 20 qemu-system-x86_64 -accel kvm -cpu host -nodefaults -display none -no-reboot \
        -kernel "$1" -append 'panic=-1' >/dev/null 2>&1; then
        echo 'qemu-system-x86_64 -accel kvm -cpu host -smp 2'
    else
        # With a thread for each processor, kernels hang now and then.
        echo 'qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2'
    fi
}

# Boots a kernel and waits until it has switched itself off: boot NAME.
boot() {
    folder=$home/kernel/$1
    result=$home/result/$1
    mkdir -p "$result"
    cat "$home/root.cpio" "$folder/modules.cpio" >"$result/initrd"
    # no_timer_check: where the host is busy, the kernel believes that the timer does not work.
    set -- "$1" -append 'console=ttyS0 panic=-1 loglevel=5 no_timer_check' \
        -serial "file:$result/console" -serial "file:$result/results"
    if [ "$arch" = arm64 ]; then
        # There is one serial port only.
        set -- "$1" -append 'console=ttyAMA0 panic=-1 loglevel=4 results=ttyAMA0' -serial "file:$result/results"
        ln -sf results "$result/console"
    fi
    name=$1
    shift
    # shellcheck disable=SC2086 # A command with its options.
    timeout "$limit" ${QEMU:=$(machine "$folder/vmlinuz")} -m "$memory" -nodefaults -display none -no-reboot \
        -kernel "$folder/vmlinuz" -initrd "$result/initrd" \
        "$@" </dev/null ||
        echo "$name: the virtual machine did not end within $limit s, or could not be started" >&2
    rm "$result/initrd"
    grep -q '^@end' "$result/results" || echo "$name: stopped before its end; see $result/console" >&2
}

if [ "$arch" = arm64 ]; then
    need qemu-system-aarch64 qemu-system-arm
else
    need qemu-system-x86_64 qemu-system-x86
fi
need busybox busybox-static
need xz xz-utils
need apt-get apt
need cc gcc

# Calls a function for each kernel that was asked for: each FUNCTION [KERNEL]...
each() {
    function=$1
    shift
    echo "$kernels" | while read -r name suite package; do
        [ -n "$name" ] || continue
        [ $# = 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
        "$function" "$name" "$suite" "$package"
    done
}

mkdir -p "$home"
each fetch "$@"
[ -z "${FETCH_ONLY:-}" ] || exit 0
build_root
each boot "$@"
[ $# != 0 ] || set -- $(echo "$kernels" | sed 's/ .*//')
awk -f tests/kernels/table.awk $(for name; do echo "$home/result/$name/results"; done)
