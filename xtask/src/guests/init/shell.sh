# An interactive shell on the console. busybox's init is process 1, so that `poweroff` and `reboot` work as on a
# real system.
ln -s /bin/busybox /sbin/init
echo '::respawn:/bin/cttyhack /bin/sh' > /etc/inittab
echo '::ctrlaltdel:/bin/reboot' >> /etc/inittab
echo 'emu-guest: ready'
exec /sbin/init
