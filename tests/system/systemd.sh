#!/bin/bash
# Hands the machine over to systemd, with a unit that runs jobs. Runs at every boot.
set -e
units=/etc/systemd/system

# What a test has no use for and software emulation makes slow.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer getty.target smartmontools.service systemd-logind.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pcrphase.service \
  systemd-pcrphase-sysinit.service systemd-networkd.service systemd-timesyncd.service \
  systemd-random-seed.service systemd-pstore.service dev-hugepages.mount dev-mqueue.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount \
  ldconfig.service systemd-hwdb-update.service systemd-journal-catalog-update.service \
  systemd-sysusers.service systemd-update-done.service systemd-machine-id-commit.service \
  multipathd.service multipathd.socket lvm2-monitor.service lvm2-lvmpolld.socket \
  blk-availability.service nvmefc-boot-connections.service nvmf-autoconnect.service \
  uuidd.socket targetclid.socket modprobe@drm.service modprobe@fuse.service; do
  ln -sf /dev/null "$units/$unit"
done
# A test that wants it starts it.
rm -f "$units/multi-user.target.wants/tcmu-runner.service"

[ -s /etc/machine-id ] || echo 5cdb2f1e0a3b4c6d8e9f00112233aabb >/etc/machine-id
echo bench >/etc/hostname

cat >"$units/jobs.service" <<END
[Unit]
Description=Run the jobs of the machine's host
After=dbus.service

[Service]
ExecStart=/opt/scsi2nvme/tests/system/jobs.sh
TasksMax=infinity
END
ln -sf ../jobs.service "$units/multi-user.target.wants/jobs.service"
exec /lib/systemd/systemd
