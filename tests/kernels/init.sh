#!/bin/busybox sh
# The first process of the virtual machine: prepares it, runs what /run-these says, and switches off.
# Results go to the second serial port, messages of the kernel to the first. Where there is one only, the kernel's
# command line names it as `results`, which is a variable here, and the kernel says nothing there from now on.
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /tmp /root
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
chmod 1777 /tmp
mount -t tracefs tracefs /sys/kernel/tracing
ln -sf /proc/self/fd /dev/fd
ip link set lo up
for module in inet_diag tcp_diag; do
    [ ! -e /modules/$module.ko ] || insmod /modules/$module.ko
done
# As systemd sets them.
ulimit -Hn 524288
ulimit -c 0

[ -z "${results:-}" ] || dmesg -n 1
{
    echo "@kernel $(uname -r) $(uname -v)"
    . /run-these
    echo "@end"
} </dev/null >"/dev/${results:-ttyS1}" 2>&1
poweroff -f
