#!/bin/sh
# Finishes a Debian root file system, whose place is the first argument: run by mmdebstrap when the packages are in.
set -eu
root=$1

echo emu > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost emu\n::1\tlocalhost ip6-localhost\n' > "$root/etc/hosts"
echo 'LABEL=emu-debian / ext4 defaults,errors=remount-ro 0 1' > "$root/etc/fstab"
echo 'root:emu' | chroot "$root" chpasswd

# Any Ethernet card, by DHCP and router advertisement. Names of cards are where they are plugged in.
printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n' > "$root/etc/systemd/network/80-ether.network"
chroot "$root" systemctl enable systemd-networkd.service
# The name server of the user-mode network; systemd-networkd alone writes no resolv.conf.
echo 'nameserver 10.0.2.3' > "$root/etc/resolv.conf"
# Nobody waits for a network that may not be there.
chroot "$root" systemctl disable systemd-networkd-wait-online.service

mkdir -p "$root/etc/ssh/sshd_config.d" "$root/root/.ssh"
printf 'PermitRootLogin yes\nUseDNS no\n' > "$root/etc/ssh/sshd_config.d/emu.conf"
chmod 700 "$root/root/.ssh"

# Timers that fetch and rewrite things would run whenever the guest does.
for timer in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer; do
    chroot "$root" systemctl disable "$timer" || true
done

# An initial ramdisk with the drivers of every bus, and no others.
printf 'MODULES=list\nCOMPRESS=zstd\n' > "$root/etc/initramfs-tools/conf.d/emu.conf"
for module in virtio_pci virtio_blk nvme ahci ata_piix ata_generic sd_mod ext4; do
    echo "$module"
done >> "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u

rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/*debian.org*
rm -f "$root/etc/machine-id"
: > "$root/etc/machine-id"
