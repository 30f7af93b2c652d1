# Times the same work on one processor and on all at once, in hundredths of a second of guest time; says the best
# of three. The kernel's clock has to be right, and the processors have to run at the same time.
work() {
    awk 'BEGIN{for(i=0;i<400000;i++)s+=i%7; print s}' > /dev/null
}
# Prints how long $1 workers at once take.
workers() {
    begin=$(uptime_now)
    count=0
    while [ $count -lt "$1" ]; do
        work &
        count=$((count + 1))
    done
    wait
    echo $(($(uptime_now) - begin))
}
best() {
    least=$(workers "$1")
    for again in 2 3; do
        took=$(workers "$1")
        [ "$took" -lt "$least" ] && least=$took
    done
    echo "$least"
}
echo "emu-guest: scaling cpus=$(nproc) one=$(best 1) all=$(best "$(nproc)")"
poweroff -f
