#!/bin/busybox sh
# The first process of a guest that runs tests on another kernel: makes the machine that they expect, runs
# what /tests names, and says on the console how that ended. Whatever goes wrong ends the guest.
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /dev /proc /sys /tmp /root /run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2> /dev/null
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ip link set lo up
# A test that prints more than the console's 115,200 baud would wait for it, and what it counts with it.
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin RUST_BACKTRACE=1
cd /root
echo "guest: Linux $(uname -r)"
sh /tests < /dev/null > /tmp/said 2>&1
status=$?
cat /tmp/said
echo "guest: exit $status"
sync
poweroff -f
