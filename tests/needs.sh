#!/bin/sh
# Looks for the servers and tools that the tests work with, installs what is missing where this
# user may (root, or sudo without a password; TCPTALLY_NO_INSTALL=1 forbids it), and names the
# tests that will be skipped for want of the rest. Always succeeds.

# What to look for, and the Debian package that has it. Go is not among them, since golang-go takes
# 450 MB; where `go` is installed, its servers are tested, too.
needs='
cc              gcc libc6-dev
nginx           nginx-light
haproxy         haproxy
redis-server    redis-server
memcached       memcached
prometheus      prometheus
python3         python3
node            nodejs
apache2         apache2-bin
script          bsdutils
tshark          tshark
strace          strace
mandoc          mandoc
setpriv         util-linux
chromium        chromium
tmux            tmux
chromedriver    chromium-driver
systemd-analyze systemd
ip              iproute2
parallel        parallel
'

# Daemons are in sbin, which is not on everybody's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

runs_m32() {
    dir=$(mktemp -d) || return 1
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' >"$dir/a.c"
    cc -m32 -o "$dir/a" "$dir/a.c" 2>/dev/null && "$dir/a"
    status=$?
    rm -rf "$dir"
    return $status
}

missing() {
    echo "$needs" | while read -r command packages; do
        if [ -n "$command" ] && ! command -v "$command" >/dev/null 2>&1; then
            echo "$packages"
        fi
    done
    if [ "$(uname -m)" = x86_64 ] && ! runs_m32; then
        echo gcc-multilib
    fi
}

packages=$(missing | tr '\n' ' ')
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    as_root=none
fi

if [ -z "$TCPTALLY_NO_INSTALL" ] && [ "$as_root" != none ] && command -v apt-get >/dev/null; then
    echo "The tests trace real servers; installing: $packages"
    $as_root apt-get -qq update </dev/null || true
    # One at a time: a package that this release lacks must not keep the others out.
    # RUNLEVEL=1 keeps the packages' scripts from starting the servers as services.
    for package in $packages; do
        $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get -qq -y --no-install-recommends install "$package" </dev/null >/dev/null ||
            echo "could not install $package" >&2
    done
fi

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
    echo "Tests that need these are skipped: $packages"
    echo "With them: apt-get install $packages"
fi
exit 0
