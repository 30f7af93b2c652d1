# What checks are made of.
failures=0
check() {
    name=$1
    shift
    if "$@"; then
        echo "emu-guest: $name ok"
    else
        echo "emu-guest: $name FAILED"
        failures=$((failures + 1))
    fi
}
same() {
    [ "$1" = "$2" ] || { echo "emu-guest: got $1, not $2"; false; }
}
kernel_is_content() {
    ! dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|soft lockup|stall|nobody cared|[Cc]orrupt|unstable|Unknown NMI'
}
