"""The service, in a machine that systemd runs: its unit, restarts, and a new boot."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from scsi2nvme import __version__
from scsi2nvme.cli.verbs.install_units import units
from tests.system import package
from tests.system.conftest import watched
from tests.system.machine import Machine
from tests.system.power import Power
from tests.system.units import IQN, UNITS, A, publish

OWN_IQN = f"iqn.2026-11.io.github.scsi2nvme:{A.address.replace(':', '-')}"
DISKS = (f"{IQN} 0", f"{OWN_IQN} 1")  # what targetcli and what `export` publishes
PARTS = f"{package.DROPPED} {package.NEWER_VERB}"  # of the older program, and of the newer one
EXPOSURE = 30  # tenths; what systemd-analyze calls OK

INSTALL = f"""
scsi2nvme install-units --program /opt/scsi2nvme/bin/scsi2nvme
cat >/etc/scsi2nvme.toml <<END
[[controllers]]
spec = "pci:{A.address}"
END
"""
# This machine is its own target's initiator, which logs out before the target goes, and
# before iscsid, which would wait for sessions that nobody ends.
INITIATOR = """
cat >/etc/systemd/system/initiator.service <<END
[Unit]
After=rtslib-fb-targetctl.service iscsid.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=iscsiadm --mode discovery --type sendtargets --portal 127.0.0.1
ExecStart=iscsiadm --mode node --login
ExecStart=udevadm settle
ExecStop=iscsiadm --mode node --logout
[Install]
WantedBy=multi-user.target
END
systemctl enable --now initiator
"""
# What `install-units` has put there, and not the package, which an administrator's would go before.
UNPACKAGED = """
rm /etc/systemd/system/scsi2nvme.service /etc/systemd/system/scsi2nvme-absent.service
rm /etc/dbus-1/system.d/scsi2nvme.conf
rm /etc/udev/rules.d/60-scsi2nvme.rules /etc/tmpfiles.d/scsi2nvme.conf
rm /usr/local/share/dbus-1/system-services/org.kernel.TCMUService1.service
"""
# Whom D-Bus starts while the package's daemon does not run: without tcmu-runner, and with it.
ABSENT = """
services=dbus-1/system-services runner=org.kernel.TCMUService1.service
told() {
  dbus-send --system --print-reply --dest=org.kernel.TCMUService1 /org/kernel/TCMUService1 \
    org.freedesktop.DBus.ObjectManager.GetManagedObjects | grep does_not_run
}
mv /usr/share/$services/$runner /root
systemctl reload dbus
eventually 60 told
systemctl stop scsi2nvme-absent
mv /root/$runner /usr/share/$services
systemctl mask --now tcmu-runner
systemctl reload dbus
! told
echo "ADDED $(/usr/sbin/scsi2nvme install-units | tr '\\n' ' ')"
eventually 60 told
systemctl unmask tcmu-runner
"""
# How many writes a disk has had, and whether these are 100 more than it had.
WRITES_ON = """
written() { read -ra counted </sys/block/${disk##*/}/stat; echo ${counted[4]}; }
more() { [ $(written) -ge $((begun + 100)) ]; }
"""
IDENTITY = """
identity() { sg_vpd --page=0x80 "$1"; sg_vpd --page=0x83 "$1"; sg_readcap --long "$1"; }
"""


@pytest.fixture(scope="module")
def booted(power: Power) -> Iterator[Machine]:
    """One machine; what a test sets up is there for the next."""
    power.off()
    with Machine(files=power.files, systemd=True) as machine:
        yield machine


@pytest.fixture(scope="module", autouse=True)
def packages(power: Power) -> Iterator[Future[Path]]:
    """Make the packages while the machine is about other things."""
    directory = power.files.program.parent
    with ThreadPoolExecutor() as pool:
        yield pool.submit(package.build, directory)


@pytest.fixture
def machine(booted: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Return the machine; its kernel must have nothing to complain about in the test."""
    yield from watched(booted, request)


def test_the_unit_is_sound_and_confined(machine: Machine) -> None:
    output = machine.run(
        f"""
        {INSTALL}
        systemd-analyze verify /etc/systemd/system/scsi2nvme*.service 2>&1 | tee /tmp/said
        test ! -s /tmp/said
        systemd-analyze security --no-pager --threshold={EXPOSURE} scsi2nvme
        """,
        timeout_s=120,
    ).output
    assert "systemctl enable --now scsi2nvme" in output


def test_a_disk_that_is_not_there_is_tried_now_and_then(machine: Machine) -> None:
    output = machine.run(
        """
        ! systemctl enable --now scsi2nvme
        sleep 15
        echo "TRIED $(systemctl show -P NRestarts scsi2nvme)"
        systemctl disable --now scsi2nvme
        """,
        timeout_s=120,
    ).output
    (tried,) = re.findall("^TRIED (.*)$", output, re.M)
    assert 1 <= int(tried) <= 3


def test_targetcli_starts_the_daemon_and_no_tcmu_runner(machine: Machine) -> None:
    output = machine.run(
        f"""
        scsi2nvme bind {A.address}
        systemctl stop tcmu-runner
        mark() {{ sed "s/^/$1 /"; }}
        both() {{ systemctl is-active scsi2nvme tcmu-runner | tr '\\n' ' '; }}
        told() {{
          dbus-send --system --print-reply --dest=org.freedesktop.DBus / \
            org.freedesktop.DBus.GetNameOwner string:org.kernel.TCMUService1
        }}
        targetcli ls
        eventually 60 told
        targetcli ls /backstores | mark STOPPED
        ! targetcli /backstores/user:nvme create name=x size=0 cfgstring=0/1 2>&1 | mark STOPPED
        echo "DISABLED $(both)"
        systemctl stop scsi2nvme-absent
        systemctl enable scsi2nvme
        targetcli ls
        eventually 60 systemctl --quiet is-active scsi2nvme
        targetcli ls /backstores | mark SERVED
        echo "ENABLED $(both)"
        targetcli /backstores/user:nvme help create
        systemctl disable --now scsi2nvme
        scsi2nvme unbind {A.address}
        """,
        timeout_s=240,
    ).output
    states = dict(re.findall("^(DISABLED|ENABLED) (.*) $", output, re.M))
    assert re.fullmatch("(inactive|failed) inactive", states["DISABLED"])
    assert re.search("^STOPPED .*user:nvme_the_daemon_does_not_run .*Objects: 0", output, re.M)
    assert re.search("^STOPPED .*The daemon does not run: ", output, re.M)
    assert re.search("^SERVED .*user:nvme ", output, re.M)
    assert not re.search("^SERVED .*does_not_run", output, re.M)
    assert states["ENABLED"] == "active inactive"
    assert f"cfgstring={A.address.replace(':', '_')}/1" in output


def test_a_new_boot_brings_everything_back(machine: Machine) -> None:
    """What targetcli and `export` have made is restored, and the data is what it was."""
    output = machine.run(
        f"""
        scsi2nvme bind {A.address} --persist
        systemctl enable --now scsi2nvme
        systemctl reload scsi2nvme
        {publish(UNITS[:1], portals=["127.0.0.1"])}
        scsi2nvme export {A.address} --namespace-id 2
        {INITIATOR}
        {IDENTITY}
        for n in 0 1; do
          disk=$(iscsi_disk $(sed -n $((n + 1))p <<<"{chr(10).join(DISKS)}"))
          head --bytes=4M /dev/urandom >/root/data.$n
          dd if=/root/data.$n of=$disk bs=1M oflag=direct
          identity $disk >/root/identity.$n
        done
        systemctl show --property=CapabilityBoundingSet,NRestarts scsi2nvme
        grep CapEff /proc/$(systemctl show -P MainPID scsi2nvme)/status
        """,
        timeout_s=240,
    ).output
    assert "CapEff:\t0000000000005400" in output
    machine.reboot()
    output = machine.run(
        f"""
        systemctl is-system-running --wait
        {IDENTITY}
        for n in 0 1; do
          disk=$(iscsi_disk $(sed -n $((n + 1))p <<<"{chr(10).join(DISKS)}"))
          dd if=$disk bs=1M count=4 iflag=direct | cmp - /root/data.$n
          identity $disk | diff /root/identity.$n -
        done
        scsi2nvme list
        journalctl --boot --no-pager --unit=rtslib-fb-targetctl --unit=scsi2nvme
        """,
        timeout_s=240,
    ).output
    assert "skipped" not in output
    assert "in use by process" in output


def test_data_move_in_place_and_nothing_is_complained_of(machine: Machine) -> None:
    """What the unit takes from the daemon is nothing that zero copy needs."""
    output = machine.run(
        f"""
        disk=$(iscsi_disk {DISKS[0]})
        dd if=$disk of=/dev/null bs=256K count=64 iflag=direct
        echo "RINGS $(scsi2nvme list --json | tr --delete '\\n')"
        echo "WARNINGS $(journalctl --boot --quiet --priority=warning --unit=scsi2nvme | wc -l)"
        journalctl --boot --no-pager --output=cat --unit=scsi2nvme
        """,
        timeout_s=120,
    ).output
    rings = json.loads(re.findall("^RINGS (.*)$", output, re.M)[0])["Rings"]
    assert sum(row["InPlace"] for row in rings) >= 64
    assert re.search("^WARNINGS 0$", output, re.M)


def test_a_crash_is_a_pause(machine: Machine) -> None:
    """As is a restart: see the upgrade of the package."""
    output = machine.run(
        f"""
        disk=$(iscsi_disk {DISKS[0]})
        {WRITES_ON}
        before=$(systemctl show -P MainPID scsi2nvme)
        begun=$(written)
        fio_verify $disk 200M --rate_iops=150 --verify_state_save=0 --number_ios=1000 &
        fio=$!
        eventually 60 more
        systemctl kill --signal=KILL scsi2nvme
        wait $fio
        test $(systemctl show -P MainPID scsi2nvme) != $before
        """,
        timeout_s=240,
    ).output
    assert "err= 0" in output


def test_only_root_asks_the_handler(machine: Machine) -> None:
    """tcmu-runner's own policy would let everyone."""
    output = machine.run(
        """
        mv /etc/dbus-1/system.d/tcmu-runner.conf /root
        trap "mv /root/tcmu-runner.conf /etc/dbus-1/system.d" EXIT
        systemctl reload dbus
        ask() {
          "$@" dbus-send --system --print-reply --dest=org.kernel.TCMUService1 \
            /org/kernel/TCMUService1/nvme org.kernel.TCMUService1.CheckConfig string:nvme/0/1
        }
        ask
        ! ask setpriv --reuid=nobody --clear-groups
        stat --format='%a %U' /dev/uio0
        """,
        timeout_s=60,
    ).output
    assert "its namespace is that of" in output
    assert "AccessDenied" in output
    assert "600 root" in output


def test_an_upgrade_of_the_package_is_a_pause(machine: Machine, packages: Future[Path]) -> None:
    """It restarts the daemon; who purges it has nothing left but what is his own.

    The older program is another one: what only it has goes, and what it has not comes.
    """
    for name in (package.OLD, package.NEW):
        shutil.copy(packages.result() / name, machine.share)
    output = machine.run(
        f"""
        {UNPACKAGED}
        {WRITES_ON}
        systemctl reset-failed
        dpkg --force-unsafe-io --install /share/{package.OLD}
        systemctl disable --now scsi2nvme
        {ABSENT}
        # An older one's state: it knew no portal groups.
        rm /var/lib/scsi2nvme/portal-groups.json
        systemctl enable --now scsi2nvme
        parts() {{ (cd /usr/lib/scsi2nvme/lib/*/site-packages/scsi2nvme; ls {PARTS} || true); }}
        echo "OLDER $(/usr/sbin/scsi2nvme --version) $(parts)"
        disk=$(iscsi_disk {DISKS[0]})
        cp /etc/scsi2nvme.toml /root
        before=$(systemctl show -P MainPID scsi2nvme)
        dpkg --force-unsafe-io --unpack /share/{package.NEW}
        test $(systemctl show -P MainPID scsi2nvme) = $before
        begun=$(written)
        until [ -e /run/upgraded ]; do
          fio_verify $disk 200M --rate_iops=150 --verify_state_save=0 --number_ios=300
        done &
        fio=$!
        eventually 60 more
        dpkg --configure scsi2nvme
        : >/run/upgraded
        wait $fio
        pid=$(systemctl show -P MainPID scsi2nvme)
        test $pid != $before
        echo "RUNS $(tr '\\0' ' ' </proc/$pid/cmdline)"
        echo "NEWER $(/usr/sbin/scsi2nvme --version) $(parts)"
        test -s /var/lib/scsi2nvme/portal-groups.json
        cmp /etc/scsi2nvme.toml /root/scsi2nvme.toml
        systemctl is-enabled scsi2nvme
        /usr/sbin/scsi2nvme export {A.address} --namespace-id 2
        """,
        timeout_s=240,
    ).output
    added = f"/{units.ACTIVATION}/{units.ACTIVATED} Once "
    assert f"ADDED {added}" in output
    assert "err= 0" in output
    assert f"OLDER scsi2nvme {package.OLDER} {package.DROPPED}\n" in output
    assert f"NEWER scsi2nvme {__version__} {package.NEWER_VERB}\n" in output
    assert re.search("^RUNS /usr/lib/scsi2nvme/bin/python3 .*daemon --config", output, re.M)
    output = machine.run(
        """
        systemctl stop initiator
        targetctl clear
        dpkg --purge scsi2nvme
        test ! -e /usr/local/share/dbus-1
        systemctl is-active scsi2nvme || true
        ls /var/lib/scsi2nvme 2>/dev/null || true
        find / -xdev -name '*scsi2nvme*' -not -path '/opt/*' -not -path '/root/*' \
          -not -path '/tmp/*' -not -path '/etc/iscsi/*' -not -name 'scsi2nvme-bind-*' \
          -printf 'LEFT %p\n'
        """,
        timeout_s=60,
    ).output
    assert re.findall("^LEFT (.*)$", output, re.M) == ["/etc/scsi2nvme.toml"], output
