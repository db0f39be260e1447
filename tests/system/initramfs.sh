#!/bin/busybox sh
# The kernel's first program: find the disks and hand over to what they hold.
set -e
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
root=$($bb sed 's/.* root=\([^ ]*\).*/\1/' /proc/cmdline)
for module in /modules/*; do
  # This loader leaves the command line's parameters out: load what is needed, no more.
  case $module,$root in *nvme*,/dev/vd*) ;; *) $bb insmod "$module" ;; esac
done
until [ -b "$root" ]; do $bb usleep 10000; done
$bb mount -t ext4 -o noatime "$root" /root
$bb mount -t ext4 -o noatime /dev/vda /root/opt/scsi2nvme
$bb umount /proc
exec $bb switch_root /root /opt/scsi2nvme/tests/system/init.sh
