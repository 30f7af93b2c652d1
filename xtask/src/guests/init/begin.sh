#!/bin/busybox sh
# The start of every variant: commands, mounts, and quiet kernel messages so that lines stay whole.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
echo 1 > /proc/sys/kernel/printk
# Hundredths of a second since the start, without zeros in front, by which the shell would take them for an octal number.
uptime_now() {
    cut -d' ' -f1 /proc/uptime | tr -d . | sed 's/^0*//'
}
