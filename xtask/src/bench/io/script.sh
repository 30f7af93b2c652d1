# Disk and network figures, as `emu-io: NAME=VALUE`. The disk to use is the one of exactly a GiB.
cd /tmp
for disk in DISKS; do
    [ "$(cat $disk/size 2>/dev/null)" = 2097152 ] && DISK=/dev/${disk##*/}
done
block() {
    fio --name=x --filename=$DISK --direct=1 --ioengine=libaio --rw=$2 --bs=$3 --iodepth=$4 \
        --time_based --runtime=SECONDS --output-format=terse --terse-version=3 > out
    awk -F';' -v n=$1 -v u=$5 '{ print "emu-io: " n "=" (u == "MB" ? ($7 + $48) * 1.024e-3 : $8 + $49) }' out
}
echo "emu-io: boot=$(cut -d' ' -f1 /proc/uptime)"
if [ -n "$DISK" ]; then
    block seq_read read 1M 4 MB
    block seq_write write 1M 4 MB
    block rand_read_1 randread 4k 1
    block rand_write_1 randwrite 4k 1
    block rand_read_32 randread 4k 32
    block rand_write_32 randwrite 4k 32
fi
if [ PORT != 0 ]; then
    systemctl start systemd-networkd
    for i in $(seq 100); do
        ip route | grep -q default && break
        sleep 0.1
    done
    for kind in in out turn; do
        echo "emu-io: tcp_$(/tmp/payload 10.0.2.2 PORT $kind SECONDS)"
    done
fi
echo "emu-io: done=1"
