# Load on disks, network and a shared folder, until the host puts a file called `stop` into the folder. Each kind of load
# counts its rounds in /tmp/rounds.NAME; what goes wrong is said as `emu-soak: failed: WHAT`.
set -u
cd /tmp
share=/mnt/share
mkdir -p $share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 soak $share || echo "emu-soak: failed: no shared folder"

# Memory that a guest uses for the first time is no leak of the host's: all of it is used before anything is measured.
mount -o remount,size=90% /dev/shm
head -c FILLM /dev/zero > /dev/shm/fill
rm /dev/shm/fill

going() {
    [ ! -e $share/stop ]
}
failed() {
    echo "emu-soak: failed: $*"
}
counted() {
    echo $(($(cat /tmp/rounds.$1 2> /dev/null || echo 0) + 1)) > /tmp/rounds.$1
}
digest() {
    sha256sum | cut -d' ' -f1
}

# Files on ext4, each synced, read again past the page cache and once more ten rounds later; blocks written at random
# and verified; freed room discarded.
disk_load() {
    name=$1 disk=$2 mount=/mnt/$1 round=0
    mkfs.ext4 -q -F $disk && mkdir -p $mount && mount $disk $mount || failed "$name: no file system"
    while going; do
        round=$((round + 1))
        file=$mount/file.$((round % 10))
        if [ -e $file ]; then
            [ "$(digest < $file)" = "$(cat /tmp/digest.$name.$((round % 10)))" ] || failed "$name: an old file changed"
            rm $file
        fi
        head -c $(($(shuf -i 1-3000 -n 1) * 4096)) /dev/urandom > /tmp/source.$name
        digest < /tmp/source.$name > /tmp/digest.$name.$((round % 10))
        dd if=/tmp/source.$name of=$file bs=64k conv=fsync status=none || failed "$name: write"
        [ "$(dd if=$file iflag=direct bs=64k status=none | digest)" = "$(cat /tmp/digest.$name.$((round % 10)))" ] ||
            failed "$name: a new file is not what was written"
        fio --name=v --filename=$mount/blocks --size=24M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1 \
            --fsync=256 --verify=crc32c --verify_fatal=1 --randseed=$round > /tmp/fio.$name 2>&1 || failed "$name: fio: $(tail -n 3 /tmp/fio.$name)"
        [ $((round % 5)) = 0 ] && fstrim $mount
        counted $name
        sleep 4
    done
    rm -f $mount/blocks
    sync
    (cd $mount && sha256sum file.*) > $share/$name.sums
    umount $mount
}

net_load() {
    seed=1
    while going; do
        seed=$((seed + 1000))
        /tmp/payload call 10.0.2.2 PORT $seed > /tmp/net.out 2>&1 || failed "net: $(cat /tmp/net.out)"
        lost=$(sed -n 's/.*lost=//p' /tmp/net.out)
        [ "${lost:-0}" = 0 ] || echo "emu-soak: lost $lost datagrams"
        counted net
        sleep 2
    done
}

share_load() {
    round=0
    while going; do
        round=$((round + 1))
        [ "$(digest < $share/given)" = GIVEN ] || failed "share: the given file is not what the host has"
        head -c $(($(shuf -i 1-2000000 -n 1))) /dev/urandom > /tmp/source.share
        mkdir -p $share/made/folder.$((round % 7))
        cp /tmp/source.share $share/made/new || failed "share: write"
        mv $share/made/new $share/made/folder.$((round % 7))/file || failed "share: rename"
        digest < /tmp/source.share > $share/made/folder.$((round % 7))/digest
        counted share
        sleep 2
    done
}

systemctl start systemd-networkd
for i in $(seq 200); do
    ip route | grep -q default && break
    sleep 0.1
done
/tmp/payload serve 7000 &
disk_load qcow2 /dev/vdc &
disk_load nvme /dev/nvme0n1 &
net_load &
share_load &
echo "emu-soak: started"
while going; do
    sleep 5
    line=""
    for name in qcow2 nvme net share; do
        line="$line $name=$(cat /tmp/rounds.$name 2> /dev/null || echo 0)"
    done
    echo "emu-soak: rounds$line"
done
# The server goes on for ever.
for i in $(seq 240); do
    [ -e $share/qcow2.sums ] && [ -e $share/nvme.sums ] && ! mountpoint -q /mnt/qcow2 && ! mountpoint -q /mnt/nvme && break
    sleep 1
done
echo "emu-soak: ended"
