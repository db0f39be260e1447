#!/bin/bash
# The machine's first process: sets it up, then runs the jobs that the host asks for.
#
# The host writes lines to the virtio port: `run N`, `kill N`, `blocked`, `shell`, `off`. A
# job is the script /share/jobs/N/script; it leaves `output` beside it, and its end is
# answered with `N STATUS`.
export PATH=/opt/scsi2nvme/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 PYTHONPATH=/opt/scsi2nvme
export JOB_LIBRARY=/opt/scsi2nvme/tests/system/library.sh

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /share
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock /run/dbus /run/lvm
mount --bind /opt/scsi2nvme/site /usr/local/lib/python3.11/dist-packages
hostname bench
ip link set lo up

modprobe -a virtio_console 9pnet_virtio configfs nvme
mount -t configfs configfs /sys/kernel/config
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share
/lib/systemd/systemd-udevd --daemon
# Only what jobs see: most of what else a PC has would cost seconds.
udevadm trigger --action=add --subsystem-match=block --subsystem-match=nvme
udevadm settle
# Else the first `targetcli` starts tcmu-runner, and there can be one TCMU daemon only.
rm /usr/share/dbus-1/system-services/org.kernel.TCMUService1.service
dbus-daemon --system --fork

port() {
  local name
  for name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$name")" = "$1" ] && basename "$(dirname "$name")"
  done
}

run() {
  local directory=/share/jobs/$1
  BASH_ENV=$JOB_LIBRARY setsid --wait \
    bash -euo pipefail -c 'echo $$ >"$0"; . "$1"' "/run/job.$1" "$directory/script" \
    </dev/null >"$directory/output" 2>&1
  echo "$1 $?" >&3
}

# A job can be killed once it leads a process group.
end() {
  until [ -s "/run/job.$1" ]; do sleep 0.1; done
  kill -KILL -- "-$(cat "/run/job.$1")"
}

exec 3<>"/dev/$(port jobs)"
echo "ready 0" >&3
while read -r verb job <&3; do
  case $verb in
    run) run "$job" & ;;
    kill) end "$job" & ;;
    blocked) echo w >/proc/sysrq-trigger; echo "blocked 0" >&3 ;;
    shell) { cd /root; setsid --ctty bash -i </dev/hvc0 >/dev/hvc0 2>&1; echo "shell 0" >&3; } & ;;
    off) break ;;
  esac
done
sync
exec busybox poweroff -f
