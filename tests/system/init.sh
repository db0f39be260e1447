#!/bin/bash
# The machine's first process: sets it up, then runs jobs, or hands over to systemd.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/pts /dev/shm /share
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
mount --bind /opt/scsi2nvme/site /usr/local/lib/python3.11/dist-packages
modprobe -a virtio_console 9pnet_virtio configfs nvme
mount -t configfs configfs /sys/kernel/config
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share

case $(</proc/cmdline) in
  *init=/lib/systemd/systemd*) exec /opt/scsi2nvme/tests/system/systemd.sh ;;
esac

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs tmpfs /tmp
mkdir -p /run/dbus /run/lvm
hostname bench
ip link set lo up
/lib/systemd/systemd-udevd --daemon
# Only what jobs see: most of what else a PC has would cost seconds.
udevadm trigger --action=add --subsystem-match=block --subsystem-match=nvme
udevadm settle
# Else the first `targetcli` starts tcmu-runner, and there can be one TCMU daemon only.
rm /usr/share/dbus-1/system-services/org.kernel.TCMUService1.service
dbus-daemon --system --fork

/opt/scsi2nvme/tests/system/jobs.sh
sync
exec busybox poweroff -f
