# Checks what a kernel and its programs need from a machine, says what it found, and powers off.
sleep_takes_a_second() {
    begin=$(uptime_now)
    sleep 1
    took=$(($(uptime_now) - begin))
    [ $took -ge 95 ] && [ $took -le 300 ] || { echo "emu-guest: a second took $took hundredths"; false; }
}
clocks_agree() {
    apart=$(($(date -u +%s) - $(date -u -D '%a %b %e %H:%M:%S %Y' -d "$(LC_ALL=C hwclock -u | cut -c1-24)" +%s)))
    [ $apart -ge -2 ] && [ $apart -le 2 ] || { echo "emu-guest: clocks are $apart seconds apart"; false; }
}
every_cpu_runs() {
    cpu=0
    while [ $cpu -lt "$(nproc)" ]; do
        same "$(taskset $(printf '%x' $((1 << cpu))) sh -c 'cut -d" " -f39 /proc/self/stat')" $cpu || return 1
        cpu=$((cpu + 1))
    done
}
forks_come_back() {
    count=0
    while [ $count -lt 40 ]; do
        (exit $count)
        [ $? = $count ] || return 1
        count=$((count + 1))
    done
}
echo "emu-guest: cpus=$(nproc) mem=$(awk '/MemTotal/{print $2}' /proc/meminfo) kernel=$(uname -r) machine=$(uname -m)"
check digest same "$(seq 1 20000 | sha256sum | cut -c1-16)" f6351f5ead9a700e
check compression same "$(seq 1 20000 | gzip | gunzip | md5sum)" "$(seq 1 20000 | md5sum)"
check sorting same "$(seq 1 3000 | sort -r | sort -n | md5sum)" "$(seq 1 3000 | md5sum)"
check floating-point same "$(awk 'BEGIN{for(i=1;i<3000;i++)s+=(i*1.25-3)/(i*i+0.5); printf "%.9f", s}')" 6.374732145
check memory same "$(dd if=/dev/zero bs=64k count=128 2>/dev/null | tee /tmp/zeroes | md5sum)" "$(md5sum < /tmp/zeroes)"
check processes forks_come_back
check every-cpu every_cpu_runs
check timer sleep_takes_a_second
check clocks clocks_agree
check kernel kernel_is_content
echo "emu-guest: done failures=$failures"
poweroff -f
