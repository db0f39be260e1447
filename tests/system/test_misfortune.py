"""Two disks under load, and what can happen to them: nothing acknowledged is lost.

Controller A's is reached over the loopback fabric, controller B's over iSCSI; one daemon
serves both through VFIO.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.controllers import CONTROLLERS, GIB, SPARE
from tests.system.machine import Machine
from tests.system.units import IQN, NAA, Unit, give_back, publish, serve

A, B = CONTROLLERS
# Each time, every one of 32 threads has a command under way somewhere.
KILLS, UPGRADES, RESETS, DISCONNECTS, DETACHMENTS = 8, 2, 3, 3, 2
# Of a disk: few enough that what is written is written again and again, and soon read back.
BLOCKS = 2048
# How long initiators wait for an answer in the test of that, and how long none comes.
PATIENCE_S, AWAY_S = 8, 12
# What a disk may make its user wait for while something happens to the other one.
UNAFFECTED_S = 10.0

LIBRARY = f"""
begin_daemon() {{ {serve(CONTROLLERS).splitlines()[-1]}; }}
restart() {{ # by which signal
  end_daemon "$1"
  begin_daemon
}}
disk() {{ echo "$(<"/tmp/$1.disk")"; }} # which one
load() {{ # which disks
  local name
  for name in "$@"; do
    leave_fork acknowledged "$(disk "$name")" "/tmp/$name.count" --blocks {BLOCKS} \\
      >"/tmp/$name.outcome" 2>"/tmp/$name.errors"
    echo "$left" >"/tmp/$name.pid"
  done
  for name in "$@"; do eventually 60 test -e "/tmp/$name.count"; done
  progress 50 "$@"
}}
# End the load of disks, which reads everything back, and print what each met.
unload() {{ # which disks
  local name pid
  for name in "$@"; do kill "$(<"/tmp/$name.pid")"; done
  for name in "$@"; do
    pid=$(<"/tmp/$name.pid")
    eventually 120 test ! -e "/proc/$pid" || stuck "$name"
    rm "/tmp/$name.count" "/tmp/$name.pid"
    cat "/tmp/$name.outcome" "/tmp/$name.errors"
  done
}}
reached() {{ [ "$(<"/tmp/$1.count")" -ge "$2" ]; }} # which disk, how many
# Wait until so many commands of each disk have succeeded that began after this: of what is
# counted from now on, no more than 16 did not.
progress() {{ # how many, which disks
  local name
  local -A goals
  for name in "${{@:2}}"; do echo >"/tmp/$name.mark"; done
  for name in "${{@:2}}"; do
    eventually 60 test "/tmp/$name.count" -nt "/tmp/$name.mark" || stuck "$name"
    goals[$name]=$(($(<"/tmp/$name.count") + $1))
  done
  for name in "${{@:2}}"; do
    eventually 60 reached "$name" "${{goals[$name]}}" || stuck "$name"
  done
}}
# Say what the load of a disk met that does not go on, or does not end, and fail.
stuck() {{ # which disk
  cat "/tmp/$1.outcome" "/tmp/$1.errors"
  tell_hung
  exit 1
}}
rescan() {{ echo 1 >"/sys/block/$(basename "$(disk "$1")")/device/rescan"; }} # which disk
# Whether a disk is known to be lost, by its sense.
is_lost() {{ # which disk
  grep --quiet "Logical unit not supported" <<<"$(sg_turs --verbose "$(disk "$1")" 2>&1)"
}}
"""
BEGIN = f"""
modprobe tcm_loop
sysctl --quiet kernel.hung_task_timeout_secs=60
{serve(CONTROLLERS)}
{publish([Unit(A, 1)], loopback=True)}
{publish([Unit(B, 1)], portals=["127.0.0.1"])}
loop_disk {NAA} 0 >/tmp/a.disk
iscsi_login
iscsi_disk {IQN} 0 >/tmp/b.disk
"""
END = f"""
for name in a b; do
  if [ -e /tmp/$name.pid ]; then kill -KILL "$(</tmp/$name.pid)" 2>/dev/null || true; fi
done
sysctl --quiet kernel.hung_task_timeout_secs=120
rm -f /tmp/[ab].*
{give_back(CONTROLLERS)}
"""

pytestmark = pytest.mark.timeout(1200)


class Disks:
    """The two disks, `a` and `b`. They stay for the next test if they are `sound`."""

    def __init__(self) -> None:
        self.sound = False
        self._machine: Machine | None = None
        self._outcomes: dict[str, dict[str, Any]] = {}

    def begin(self, machine: Machine) -> None:
        """Put both under load."""
        if machine is not self._machine or not self.sound:
            self.end()
            self._machine = machine
            self.run(BEGIN, 300)
        self.sound = False
        self._outcomes = {}
        self.run("load a b")

    def end(self) -> None:
        """Take everything down."""
        if self._machine is not None and self._machine.alive:
            print(self.run(END, 200))
        self._machine = None

    def run(self, script: str, timeout_s: float = 120) -> str:
        """Run a script that has LIBRARY at hand; return what it prints."""
        assert self._machine is not None
        return self._machine.run(LIBRARY + script, timeout_s).output

    def unload(self, *names: str) -> None:
        """End the load of disks, all at once; nothing was lost."""
        lines = self.run(f"unload {' '.join(names)}", 300).splitlines()
        for name, line in zip(names, lines, strict=True):
            self._outcomes[name] = json.loads(line)
            assert self._outcomes[name]["lost"] == []

    def outcome(self, name: str) -> dict[str, Any]:
        """Return what the load of a disk met; whatever load goes on still ends."""
        if name not in self._outcomes:
            self.unload(*sorted({"a", "b"} - self._outcomes.keys()))
        return self._outcomes[name]

    def paused(self, name: str) -> None:
        """End the load of a disk, which may have waited for an answer."""
        outcome = self.outcome(name)
        assert outcome["failed"] == 0, outcome

    def unaffected(self, name: str) -> None:
        """End the load of a disk, which did not notice anything."""
        outcome = self.outcome(name)
        assert outcome["failed"] == 0, outcome
        assert outcome["longest_s"] < UNAFFECTED_S, outcome


@pytest.fixture(scope="module")
def shared() -> Iterator[Disks]:
    """Return what the tests here share, since it takes long to make."""
    disks = Disks()
    yield disks
    disks.end()


@pytest.fixture
def disks(shared: Disks, machine: Machine, request: pytest.FixtureRequest) -> Iterator[Disks]:
    """Return both disks under load."""
    failed = request.session.testsfailed
    shared.begin(machine)
    yield shared
    shared.sound = request.session.testsfailed == failed


@pytest.mark.parametrize(("signal", "times"), [("KILL", KILLS), ("TERM", UPGRADES)])
def test_the_daemon_is_replaced(disks: Disks, signal: str, times: int) -> None:
    disks.run(
        f"""
        for i in {{1..{times}}}; do
          restart {signal}
          progress 50 a b
        done
        """,
        timeout_s=60 * times,
    )
    disks.paused("a")
    disks.paused("b")


def test_the_daemon_is_away_for_longer_than_initiators_wait(disks: Disks) -> None:
    """What they abort meanwhile is answered when it is back."""
    disks.run(
        f"""
        wait_for() {{ # so many seconds
          local name
          for name in a b; do echo $1 >/sys/block/$(basename $(disk $name))/device/timeout; done
        }}
        wait_for {PATIENCE_S}
        trap "wait_for 30" EXIT
        progress 50 a b # and what began before has ended
        end_daemon KILL
        sleep {AWAY_S}
        begin_daemon
        progress 50 a b
        """,
        timeout_s=200,
    )
    disks.paused("a")
    disks.paused("b")


def test_a_controller_is_reset(disks: Disks) -> None:
    """On request, and by somebody who says nothing to the daemon."""
    disks.run(
        f"""
        for i in {{1..{RESETS}}}; do
          scsi2nvme reset {A.address} --state-dir /run/daemon
          progress 50 a
        done
        for i in {{1..{RESETS}}}; do
          echo 1 >/sys/bus/pci/devices/{A.address}/reset
          progress 50 a
        done
        """,
        timeout_s=300,
    )
    disks.paused("a")
    disks.unaffected("b")


def test_a_logical_unit_is_reset(disks: Disks) -> None:
    disks.run(
        f"""
        for i in {{1..{RESETS}}}; do
          sg_reset --device $(disk b)
          progress 50 b
        done
        """,
        timeout_s=300,
    )
    disks.unaffected("a")
    disks.paused("b")


def test_connections_break(disks: Disks) -> None:
    disks.run(
        f"""
        for i in {{1..{DISCONNECTS}}}; do
          ss --kill dst 127.0.0.1 dport = 3260 | grep --quiet ESTAB
          progress 50 b
        done
        """,
        timeout_s=300,
    )
    disks.unaffected("a")
    disks.paused("b")


def test_a_controller_is_pulled_out(disks: Disks, machine: Machine) -> None:
    """Its disk fails at once, and is there again once the controller is."""
    machine.unplug(B)
    try:
        said = disks.run(
            f"""
            is_lost b
            progress 50 a
            ! scsi2nvme reset {B.address} --state-dir /run/daemon
            """
        )
    finally:
        machine.plug(B)
    assert f"pci:{B.address} is dead: the host wants the device back" in said
    is_served_again(
        disks,
        f"""
        eventually 60 namespace {B.address} 1 >/dev/null
        scsi2nvme bind {B.address} >/dev/null
        """,
    )


def test_a_slot_loses_its_power(disks: Disks) -> None:
    """Unnoticed by the kernel, which waits for the disk when it is reset: nobody else does."""
    is_served_again(
        disks,
        f"""
        power() {{ # off or on
          setpci -s "$(basename $(dirname $(realpath /sys/bus/pci/devices/{B.address})))" \
            CAP_EXP+18.w=$1:700
        }}
        power 700
        eventually 20 is_lost b
        progress 50 a
        scsi2nvme reset {B.address} --state-dir /run/daemon &
        reset=$!
        in_kernel() {{ grep --quiet pci_dev_wait /proc/$(</run/daemon.pid)/task/*/stack; }}
        eventually 20 in_kernel
        timeout 5 sg_turs $(disk a)
        progress 50 a
        in_kernel
        power 100 # newer kernels keep the port as well, until they give the disk up
        wait $reset || true
        eventually 60 scsi2nvme reset {B.address} --state-dir /run/daemon
        """,
    )


def is_served_again(disks: Disks, script: str) -> None:
    """Run a script that ends with controller B back: its disk failed, and works as it did."""
    said = disks.run(
        f"""
        {script}
        progress 50 b
        scsi2nvme list --state-dir /run/daemon --json
        """,
        timeout_s=200,
    )
    rings = json.loads(said[said.index("{") :])["Rings"]
    assert all(ring["InPlace"] > 0 for ring in rings), rings  # with the new IOMMU mapping too
    disks.unaffected("a")
    outcome = disks.outcome("b")
    assert outcome["failed"] > 0
    assert outcome["errors"] == ["EIO"]  # which another path is tried for


def test_a_namespace_is_detached_and_attached(disks: Disks, machine: Machine) -> None:
    """By another controller of its subsystem, one that the kernel drives."""
    machine.plug(SPARE)
    try:
        disks.run(
            f"""
            eventually 60 namespace {SPARE.address} 1
            other=/dev/$(ls /sys/bus/pci/devices/{SPARE.address}/nvme)
            number=$(scsi2nvme id-ctrl 1 --state-dir /run/daemon |
              sed --quiet 's/^cntlid *: *//p')
            attach() {{ nvme attach-ns $other --namespace-id=1 --controllers=$number; }}
            for i in {{1..{DETACHMENTS}}}; do
              nvme detach-ns $other --namespace-id=1 --controllers=$number
              trap attach EXIT
              eventually 20 is_lost b
              attach
              trap - EXIT
              progress 50 b
            done
            """
        )
    finally:
        machine.unplug(SPARE)
    disks.unaffected("a")
    assert disks.outcome("b")["failed"] > 0


def test_a_disk_is_resized(disks: Disks, machine: Machine) -> None:
    """By whoever configures the backstore; the load is in the part that stays."""
    before = len(machine.log())
    disks.run(
        f"""
        for size in {GIB // 2} {GIB} {GIB // 4} {GIB}; do
          echo $size >$(echo /sys/kernel/config/target/core/user_*/b1/attrib/dev_size)
          progress 50 b
          rescan b
          [ "$(blockdev --getsize64 $(disk b))" = $size ]
        done
        """
    )
    assert machine.log()[before:].count("Capacity data has changed") == 4
    disks.unaffected("a")
    disks.unaffected("b")


def test_a_disk_is_formatted_with_other_blocks(disks: Disks) -> None:
    """What it has become, it still is after a crash."""
    disks.unload("b")
    disks.run(
        """
        for size in 4096 512; do
          sg_format --format --quick --wait --size=$size $(disk b)
          rescan b
          [ "$(blockdev --getss $(disk b))" = $size ]
          load b
          restart KILL
          progress 50 b
          unload b
        done
        """,
        timeout_s=300,
    )
    disks.paused("a")


def test_a_command_that_hangs_is_aborted(shared: Disks, machine: Machine) -> None:
    """Its initiator's patience counts, which is shorter here than the daemon's.

    It hangs in the middle, where udev does not look when the disk comes: it would be more patient.
    """
    shared.end()
    said = machine.run(
        f"""
        modprobe tcm_loop
        finish() {{
          clear_targets
          end_daemon
        }}
        start_daemon --controller emulated:memory,size=64M,fault=read:hang:lba=60000-60000:count=1
        trap finish EXIT
        targetcli_all <<END
        /backstores/user:nvme create name=disk0 size=64M cfgstring=0/1
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/user:nvme/disk0
END
        disk=$(loop_disk {NAA} 0)
        echo 3 >/sys/block/${{disk##*/}}/device/timeout
        timeout 25 dd if=$disk of=/dev/null bs=512 skip=60000 count=1 iflag=direct
        """,
        timeout_s=300,
    ).output
    assert "is not wanted any more: aborted" in said
