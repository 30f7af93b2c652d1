# Loads modules that choose their code by what the processor can, and powers off. The kernel tests ciphers and digests
# itself when they are registered; RAID6 is tested here, by two disks of four that fail.
mkdir -p /sbin
ln -s /bin/busybox /sbin/modprobe
depmod

has() {
    grep -qw "$1" /proc/cpuinfo
}
load() {
    for module in "$@"; do
        modprobe "$module" || { echo "emu-guest: $module is not loaded"; return 1; }
    done
}
# What follows $1 in the kernel's messages, up to the next space.
logged() {
    dmesg | sed -n "s/^.*$1 *\([^ ]*\).*/\1/p" | tail -n 1
}
passed_its_test() {
    awk -v driver="$1" '/^driver/{name = $3} /^selftest/ && name == driver && $3 == "passed"{found = 1} END{exit !found}' /proc/crypto
}
no_test_failed() {
    ! awk '/^driver/{name = $3} /^selftest/ && $3 != "passed"{print "emu-guest: " name " is " $3; found = 1} END{exit !found}' /proc/crypto &&
        ! dmesg | grep 'alg: .*failed'
}
# The digest of the array's content.
content() {
    head -c 1048576 /dev/md_test | md5sum
}
raid6_survives_two_lost_disks() {
    modprobe brd rd_nr=4 rd_size=2048 && load raid456 || return 1
    array=/sys/block/md_test/md
    echo md_test > /sys/module/md_mod/parameters/new_array
    echo none > $array/metadata_version
    echo raid6 > $array/level
    echo 4 > $array/raid_disks
    echo 2 > $array/layout
    echo 65536 > $array/chunk_size
    echo 1024 > $array/component_size
    for disk in 0 1 2 3; do
        cat /sys/block/ram$disk/dev > $array/new_dev
        echo $disk > $array/dev-ram$disk/slot
    done
    echo active > $array/array_state
    head -c 1048576 /bin/busybox > /dev/md_test || return 1
    sync
    echo idle > $array/sync_action
    before=$(content)
    same "$before" "$(head -c 1048576 /bin/busybox | md5sum)" || return 1
    for disk in 1 2; do
        echo faulty > $array/dev-ram$disk/state || return 1
    done
    echo 3 > /proc/sys/vm/drop_caches
    same "$(cat $array/degraded)" 2 && same "$(content)" "$before"
}
digits() {
    vectors | od -An -v -tx1 | tr -d ' \n'
}
# Several at once, on each processor: what each has in its registers must stay its own.
vectors_keep_apart() {
    for run in 1 2 3 4; do
        digits > /tmp/vectors-$run &
    done
    wait
    for run in 1 2 3 4; do
        same "$(cat /tmp/vectors-$run)" "$(digits)" || return 1
    done
}

load xor raid6_pq
echo "emu-guest: xor=$(logged 'checksumming function') raid6=$(logged 'raid6: using algorithm') recovery=$(dmesg | sed -n 's/.*raid6: using \([^ ]*\) recovery.*/\1/p')"
check raid6 raid6_survives_two_lost_disks

modules='chacha-x86_64 poly1305-x86_64 nhpoly1305-avx2 serpent-avx2 twofish-avx-x86_64 cast5-avx-x86_64
    cast6-avx-x86_64 camellia-x86_64 blowfish-x86_64 des3_ede-x86_64 sha1-ssse3 sha256-ssse3 sha512-ssse3'
drivers='chacha20-simd poly1305-simd nhpoly1305-avx2 cbc-serpent-avx2 cbc-twofish-avx cbc-cast5-avx
    cbc-cast6-avx cbc-camellia-asm cbc-blowfish-asm cbc-des3_ede-asm sha1-avx2 sha256-avx2 sha512-avx2'
if has aes && has pclmulqdq; then
    modules="$modules aesni-intel aegis128-aesni camellia-aesni-avx2 ghash-clmulni-intel crct10dif-pclmul crc32-pclmul"
    drivers="$drivers xts-aes-aesni generic-gcm-aesni aegis128-aesni cbc-camellia-aesni-avx2 ghash-clmulni crct10dif-pclmul
        crc32-pclmul"
fi
if has adx; then
    modules="$modules curve25519-x86_64"
    drivers="$drivers curve25519-x86"
fi
check modules load $modules
for driver in $drivers; do
    check "$driver" passed_its_test "$driver"
done
check self-tests no_test_failed

if [ -x /bin/vectors ]; then
    echo "emu-guest: vectors=$(digits)"
    check vectors-apart vectors_keep_apart
fi
check kernel kernel_is_content
echo "emu-guest: done failures=$failures"
poweroff -f
