# Drivers of devices, and tasks for tests: the function `task_NAME` for `task=NAME` in the kernel's command line. What a
# task is to know besides is in the command line too.
mkdir -p /sbin /mnt
ln -s /bin/busybox /sbin/modprobe
depmod
for driver in virtio_pci virtio_blk virtio_net ata_piix sd_mod sr_mod; do
    modprobe $driver || echo "emu-guest: $driver is not loaded"
done

# The value of NAME=VALUE in the kernel's command line.
option() {
    tr ' ' '\n' < /proc/cmdline | sed -n "s/^$1=//p"
}

# A shell.
task_shell() {
    echo "emu-guest: ready"
    setsid cttyhack sh
}

# Writes numbered files to ext4 on the disk, and tells of each when it has been synced, for ever. The files of the hundred
# numbers before stay; each holds its number again and again, and is as long as its number says.
task_durability() {
    mount -t ext4 /dev/vda /mnt || return 1
    number=$(ls /mnt | sed -n 's/^file\.//p' | sort -n | tail -n 1)
    number=${number:-0}
    echo "emu-guest: continues behind $number"
    while true; do
        number=$((number + 1))
        yes "$number" | dd of=/mnt/file.$number bs=1000 count=$((number % 37 + 1)) iflag=fullblock conv=fsync 2> /dev/null ||
            return 1
        echo "emu-guest: synced $number"
        rm -f /mnt/file.$((number - 100))
    done
}

task_$(option task) || echo "emu-guest: task failed"
poweroff -f
