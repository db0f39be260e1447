#!/bin/busybox sh
# The kernel's first program: find the disks and hand over to what they hold.
set -e
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
for module in /modules/*; do $bb insmod "$module"; done
$bb mount -t ext4 -o noatime /dev/vda /root
$bb mount -t ext4 -o noatime /dev/vdb /root/opt/scsi2nvme
exec $bb switch_root /root /opt/scsi2nvme/tests/system/init.sh
