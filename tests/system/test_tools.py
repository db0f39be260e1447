"""What the tools of an initiator make of a disk: VFIO, the kernel's target, targetcli, iSCSI.

Two initiators log in, each through a portal of its own. One job runs every tool; the tests
judge what it printed, against what the kernel's own driver said of the same disks before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.commands import COMMANDS
from tests.system.controllers import CONTROLLERS
from tests.system.power import Power
from tests.system.units import IQN, UNITS, Unit, given_back, publish, serve

PORTALS = ("127.0.0.1", "127.0.0.2")
INITIATOR = "iqn.2026-11.org.example:second"
KEYS = (0x1, 0x2)  # of the two initiators
STOPPED, MISCOMPARE, CONFLICT, ATTENTION = 2, 14, 24, 6  # how sg3_utils end
DISKS = UNITS[:2]  # of both block lengths

# What is asked of each disk; {disk} is its block device.
QUESTIONS = {
    "inq": "sg_inq {disk}",
    "vpd": "sg_vpd --all {disk}",
    "readcap": "sg_readcap --long {disk}",
    "modes": "sg_modes --all {disk}",
    "logs": "sg_logs --all {disk}",
    "smartctl": "smartctl --all --json {disk}",
    "opcodes": "sg_opcodes --mask {disk}",
    "luns": "sg_luns {disk}",
    "rtpg": "sg_rtpg --decode {disk}",
    "requests": "sg_requests {disk}",
    "turs": "sg_turs {disk}",
}
RECORD = """
mkdir /share/tools
record() { # NAME COMMAND…
  local name=$1 status=0
  shift
  "$@" >"/share/tools/$name" 2>&1 || status=$?
  echo "$status" >"/share/tools/$name.status"
}
block() { dd if="$1" bs="$2" skip="$3" count="$4" iflag=direct status=none; }
"""
# The kernel cannot keep reservations for a power loss where this directory is missing.
LOGIN = f"""
mkdir --parents "$(cat /sys/kernel/config/target/dbroot)/pr"
iscsi_start
iscsiadm --mode iface --interface second --op new
for setting in initiatorname={INITIATOR} transport_name=tcp; do
  iscsiadm --mode iface --interface second --op update \\
    --name iface.${{setting%=*}} --value ${{setting#*=}}
done
iscsiadm --mode discovery --type sendtargets --portal 127.0.0.1 \\
  --interface default --interface second
iscsiadm --mode node --portal 127.0.0.1 --interface default --login
iscsiadm --mode node --portal 127.0.0.2 --interface second --login
udevadm settle
"""
# The maps of the disks, by what dm-multipath knows of a vendor NVMe itself.
MULTIPATH = """
modprobe dm-multipath
cp /share/multipath.conf /etc
record multipath multipath
record multipath-ll multipath -ll
record multipath-flush multipath -F
"""
# Every command that changes something; `size` is the block length.
CHANGES = """
head --bytes=$((4 * size)) /dev/urandom >/tmp/random
head --bytes=$((4 * size)) /dev/zero >/tmp/zero
head --bytes=$size /tmp/random >/tmp/block
dd if=/tmp/random of=$disk bs=$size oflag=direct status=none
record $unit.xcopy sg_xcopy if=$disk of=$disk bs=$size count=2 seek=24
record $unit.copied cmp <(block $disk $size 24 2) <(head --bytes=$((2 * size)) /tmp/random)
record $unit.verify sg_verify --lba=0 --count=4 $disk
record $unit.verify-same sg_verify --lba=0 --count=1 --bytchk=$size --in=/tmp/block $disk
record $unit.verify-other sg_verify --lba=1 --count=1 --bytchk=$size --in=/tmp/block $disk
record $unit.unmap sg_unmap --lba=0 --num=4 --force $disk
record $unit.unmapped cmp <(block $disk $size 0 4) /tmp/zero
record $unit.write-same sg_write_same --lba=8 --num=4 --xferlen=$size --in=/tmp/block $disk
record $unit.written-same \\
  cmp <(block $disk $size 8 4) <(cat /tmp/block /tmp/block /tmp/block /tmp/block)
record $unit.write-same-unmap \\
  sg_write_same --16 --unmap --lba=8 --num=4 --xferlen=$size --in=/dev/zero $disk
record $unit.written-zeroes cmp <(block $disk $size 8 4) /tmp/zero
head --bytes=$size /tmp/zero | cat - /tmp/block >/tmp/pair
record $unit.compare-and-write \\
  sg_compare_and_write --lba=16 --num=1 --xferlen=$((2 * size)) --in=/tmp/pair $disk
record $unit.swapped cmp <(block $disk $size 16 1) /tmp/block
record $unit.compare-and-write-again \\
  sg_compare_and_write --lba=16 --num=1 --xferlen=$((2 * size)) --in=/tmp/pair $disk
keep_from_udev $disk
record $unit.stop sg_start --stop $disk
record $unit.stopped sg_turs $disk
record $unit.stopped-why sg_requests $disk
record $unit.start sg_start --start $disk
record $unit.started sg_turs $disk
leave_to_udev
record $unit.format sg_format --format --quick --early $disk
record $unit.format-end eventually 60 sg_turs $disk
record $unit.formatted cmp <(block $disk $size 16 1) <(head --bytes=$size /tmp/zero)
record $unit.readcap-after sg_readcap --long $disk
"""
# Two initiators: $disk and $other are their views of one logical unit. Nobody else may have
# a look at it meanwhile: udev would, whenever a tool has had it open, and take what is due to
# the next who asks.
RESERVATIONS = f"""
keep_from_udev $disk $other
persist() {{ # NAME DISK OPTION…
  local name=$1 disk=$2
  shift 2
  record $name sg_persist "$@" $disk
}}
write() {{ sg_write_same --lba=0 --num=1 --xferlen=512 --in=/dev/zero "$1"; }}
read_one() {{ dd if="$1" of=/dev/null bs=512 count=1 iflag=direct; }}
persist capabilities $disk --in --report-capabilities
persist register-1 $disk --out --register --param-sark={KEYS[0]:#x}
persist register-2 $other --out --register --param-sark={KEYS[1]:#x}
persist keys $other --in --read-keys
persist reserve $disk --out --reserve --param-rk={KEYS[0]:#x} --prout-type=1
persist reservation $other --in --read-reservation
persist full-status $other --in --read-full-status
record write-holder write $disk
record write-other write $other
record read-other read_one $other
persist preempt $other \\
  --out --preempt --param-rk={KEYS[1]:#x} --param-sark={KEYS[0]:#x} --prout-type=3
record attention sg_turs $disk
record read-preempted read_one $disk
persist keys-after $other --in --read-keys
persist clear $other --out --clear --param-rk={KEYS[1]:#x}
persist keys-cleared $disk --in --read-keys
leave_to_udev
"""


def ask_the_kernel() -> Iterator[str]:
    """Yield a script that records what the kernel's driver knows of the disks."""
    yield "modprobe nvme"
    for controller in CONTROLLERS:
        yield f"eventually 20 namespace {controller.address} 1"
        yield f"device=$(namespace {controller.address} 1)"
        yield f"record {controller.name}.ctrl nvme id-ctrl ${{device%n*}} -o json"
        yield f"record {controller.name}.smart nvme smart-log ${{device%n*}} -o json"
        yield f"record {controller.name}.cache nvme get-feature ${{device%n*}} --feature-id=6"
    for unit in UNITS:
        yield f"device=$(namespace {unit.controller.address} {unit.nsid})"
        yield f"record {unit.name}.ns nvme id-ns $device -o json"
        yield f"record {unit.name}.descriptors nvme ns-descs $device -o json"


def ask_the_tools() -> Iterator[str]:
    """Yield a script that runs everything on the disks of the two initiators."""
    yield "record lsscsi lsscsi --unit --size"
    for unit in DISKS:
        lun = UNITS.index(unit)
        yield f"unit={unit.name} size={unit.namespace.block_bytes}"
        yield f"disk=$(iscsi_disk {IQN} {lun})"
        for name, question in QUESTIONS.items():
            yield f"record {unit.name}.{name} {question.format(disk='$disk')}"
        yield CHANGES
    yield f"disk=$(iscsi_disk {IQN} 0) other=$(iscsi_disk {IQN} 0 {PORTALS[1]})"
    yield RESERVATIONS


@dataclass(frozen=True)
class Records:
    """What the tools printed, by name."""

    directory: Path

    def status(self, name: str) -> int:
        """Return the exit status."""
        return int((self.directory / f"{name}.status").read_text())

    def text(self, name: str, status: int = 0) -> str:
        """Return the output of a tool that ended with this status."""
        text = (self.directory / name).read_text(errors="replace")
        assert self.status(name) == status, text
        return text

    def json(self, name: str, status: int = 0) -> Any:
        """Return the same, parsed."""
        return json.loads(self.text(name, status))


@pytest.fixture(scope="module")
def records(power: Power) -> Iterator[Records]:
    """Run everything once."""
    machine = power.machine()
    settings = "defaults {\n  find_multipaths yes\n}\n"
    (machine.share / "multipath.conf").write_text(settings)
    script = chain(
        (RECORD,),
        ask_the_kernel(),
        (serve(CONTROLLERS), publish(UNITS, portals=PORTALS), LOGIN, MULTIPATH),
        ask_the_tools(),
    )
    with machine.quiet(), given_back(machine, CONTROLLERS):
        machine.run("\n".join(script), timeout_s=400)
        yield Records(machine.share / "tools")


def number(text: str, label: str) -> int:
    """Return the number that follows a label."""
    found = re.search(rf"{re.escape(label)}\s*[:=]?\s*(0x[0-9a-f]+|-?\d+)", text, re.I)
    assert found, f"{label} is not in:\n{text}"
    return int(found[1], 16 if found[1].startswith("0x") else 10)


def nvme(records: Records, unit: Unit) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Identify Controller and Identify Namespace, by the kernel's driver."""
    return records.json(f"{unit.controller.name}.ctrl"), records.json(f"{unit.name}.ns")


def uuid(records: Records, unit: Unit) -> str:
    """Return the namespace's UUID, by the kernel's driver."""
    found = records.json(f"{unit.name}.descriptors")["ns-descs"]
    return next(str(each["uuid"]) for each in found if "uuid" in each)


def identities(records: Records, unit: Unit) -> tuple[str, str]:
    """Return the serial number and the name by udev that a logical unit must have."""
    controller, namespace = nvme(records, unit)
    eui64 = namespace["eui64"].upper()
    if unit.namespace.eui64:
        groups = re.findall("....", eui64)
        high, low = eui64[:7].lower(), eui64[7:].lower()
        return "_".join(groups) + ".", f"36{controller['ieee']:06x}{low}{high:0<16}"
    bare = uuid(records, unit).replace("-", "").upper()
    digest = sha256(f"NVMe    {controller['mn'][:16]:16}{bare}".encode()).hexdigest()
    return f"{controller['sn']}_{unit.nsid:08X}.", f"33{digest[:15]}"


def in_each(function: Any) -> Any:
    """Run a test for a disk of each block length."""
    return pytest.mark.parametrize("unit", DISKS, ids=lambda unit: unit.name)(function)


def test_lsscsi(records: Records) -> None:
    rows = re.findall(r"\[\d:0:0:(\d)\]\s+disk\s+(\S+)\s+/dev/sd\w\s+(\S+)", records.text("lsscsi"))
    assert len(rows) == len(UNITS) * len(PORTALS)
    for lun, name, size in rows:
        unit = UNITS[int(lun)]
        _, udev = identities(records, unit)
        assert name == udev[1:]
        assert size == "1.07GB"


@in_each
def test_sg_inq(records: Records, unit: Unit) -> None:
    text = records.text(f"{unit.name}.inq")
    controller, _ = nvme(records, unit)
    assert re.search(r"Vendor identification: NVMe *$", text, re.M)
    assert f"Product identification: {controller['mn'][:16]}" in text
    assert f"Product revision level: {controller['fr'].strip()[-4:]}" in text
    assert f"Unit serial number: {identities(records, unit)[0]}" in text
    assert number(text, "version") == 6
    assert number(text, "TPGS") == 1


@in_each
def test_sg_vpd(records: Records, unit: Unit) -> None:
    text = records.text(f"{unit.name}.vpd")
    controller, namespace = nvme(records, unit)
    assert f"Unit serial number: {identities(records, unit)[0]}" in text
    assert f"Locally assigned UUID: {uuid(records, unit)}" in text
    assert f"\n      0x{identities(records, unit)[1][1:]}\n" in text
    if unit.namespace.eui64:
        assert f"\n      0x{namespace['eui64']}\n" in text
        assert f"eui.{namespace['eui64'].upper()}" in text
    block = unit.namespace.block_bytes
    assert number(text, "Maximum transfer length") * block == 8 << 20
    assert number(text, "Maximum unmap LBA count") == -1
    granularity = max(namespace["npdg"], namespace["npda"]) + 1
    assert number(text, "Optimal unmap granularity") == granularity
    assert number(text, "Optimal transfer length granularity") == namespace["npwg"] + 1
    for provisioning in ("(LBPU)", "(LBPWS)", "(LBPWS10)"):
        assert number(text, provisioning) == controller["oncs"] >> 2 & 1
    assert number(text, "read zeros (LBPRZ)") == int(namespace["dlfeat"] & 7 == 1)
    assert number(text, " V_SUP") == controller["vwc"] & 1
    assert "Non-rotating medium" in text
    assert number(text, "Relative target port") == 1
    assert number(text, "Target port group") == 1


@in_each
@pytest.mark.parametrize("when", ["readcap", "readcap-after"])
def test_sg_readcap(records: Records, unit: Unit, when: str) -> None:
    """A format in between has changed nothing."""
    text = records.text(f"{unit.name}.{when}")
    controller, namespace = nvme(records, unit)
    assert number(text, "Last LBA") == namespace["nsze"] - 1
    length = 1 << namespace["lbafs"][namespace["flbas"] & 0xF]["ds"]
    assert number(text, "Logical block length") == length == unit.namespace.block_bytes
    assert number(text, "lbpme") == controller["oncs"] >> 2 & 1
    assert number(text, "lbprz") == int(namespace["dlfeat"] & 7 == 1)
    assert number(text, "Device size") == namespace["nsze"] * length
    assert number(text, "prot_en") == namespace["dps"] & 7 == 0


@in_each
def test_sg_modes(records: Records, unit: Unit) -> None:
    text = records.text(f"{unit.name}.modes")
    _, namespace = nvme(records, unit)
    assert number(text, "WP") == 0
    assert number(text, "DpoFua") == 1
    dumps = re.findall(r"((?:^ \d0  .*\n)+)", text, re.M)
    descriptor, *pages = (
        bytes.fromhex("".join(line[4:] for line in dump.splitlines())) for dump in dumps
    )
    assert int.from_bytes(descriptor[:4], "big") == namespace["nsze"]
    assert int.from_bytes(descriptor[5:], "big") == unit.namespace.block_bytes
    by_code = {page[0] & 0x3F: page for page in pages}
    assert set(by_code) == {0x01, 0x02, 0x03, 0x04, 0x07, 0x08, 0x0A, 0x1A, 0x1C}
    # A reset of a logical unit has the cache as it is by default: off in QEMU's controller.
    cache = records.text(f"{unit.controller.name}.cache")
    assert by_code[0x08][2] >> 2 & 1 == number(cache, "Current value")  # WCE
    assert by_code[0x0A][2] >> 2 & 1 == 0  # D_SENSE


@in_each
def test_sg_logs(records: Records, unit: Unit) -> None:
    """What the controller counts for all its namespaces is not told of one; what we count is."""
    text = records.text(f"{unit.name}.logs")
    controller, _ = nvme(records, unit)
    kernel = records.json(f"{unit.controller.name}.smart")
    assert len(unit.controller.namespaces) > 1
    assert number(text, "Total uncorrected errors") == 0
    assert "Total bytes processed" in text
    assert "number of read commands" in text
    assert number(text, "Current temperature") == kernel["temperature"] - 273
    assert number(text, "Reference temperature") == controller["wctemp"] - 273
    assert number(text, "Percentage used endurance indicator") == kernel["percent_used"]
    assert number(text, "Accumulated start-stop cycles") == int(kernel["power_cycles"])
    assert number(text, "Accumulated power on minutes") == int(kernel["power_on_hours"]) * 60
    assert number(text, "IE asc") == 0


@in_each
def test_smartctl(records: Records, unit: Unit) -> None:
    # A controller without self-tests has no log of them, which smartctl reports with bit 2.
    found = records.json(f"{unit.name}.smartctl", status=4)
    controller, namespace = nvme(records, unit)
    kernel = records.json(f"{unit.controller.name}.smart")
    assert not controller["oacs"] >> 4 & 1
    assert found["scsi_product"] == controller["mn"][:16].rstrip()
    assert found["scsi_revision"] == controller["fr"].strip()[-4:]
    assert found["serial_number"] == identities(records, unit)[0]
    assert found["logical_block_size"] == unit.namespace.block_bytes
    assert found["user_capacity"]["bytes"] == namespace["nsze"] * unit.namespace.block_bytes
    assert found["rotation_rate"] == 0
    assert found["smart_status"]["passed"] == (kernel["critical_warning"] == 0)
    assert found["temperature"]["current"] == kernel["temperature"] - 273
    assert found["temperature"]["drive_trip"] == controller["wctemp"] - 273
    assert found["scsi_percentage_used_endurance_indicator"] == kernel["percent_used"]
    errors = found["scsi_error_counter_log"]["read"]["total_uncorrected_errors"]
    assert errors == int(kernel["media_errors"])


# What QEMU's controller cannot do, and what initiators may do where that is permitted.
NOT_OFFERED = (
    r"ZONE|WRITE POINTER|\(32\)|SANITIZE|SECURITY|error history|download|activate|ATOMIC|WRITE LONG"
    r"|SET TARGET PORT|STREAM|BACKGROUND"
)


@in_each
def test_sg_opcodes(records: Records, unit: Unit) -> None:
    text = records.text(f"{unit.name}.opcodes")
    rows = re.findall(r"^ ([0-9a-f]{2})\s+([0-9a-f]{1,2}\b)?\s+(\d+)\s+\d,\d", text, re.M)
    found = {(int(code, 16), int(action, 16) if action else None) for code, action, _ in rows}
    offered = [
        command
        for command in COMMANDS
        if not (command.of_one_initiator or re.search(NOT_OFFERED, command.name))
    ]
    assert found == {(command.opcode, command.service_action) for command in offered}
    assert len(re.findall(r"cdb usage: ", text)) == len(found)


@in_each
def test_sg_luns(records: Records, unit: Unit) -> None:
    luns = re.findall(r"^ +([0-9a-f]{16})$", records.text(f"{unit.name}.luns"), re.M)
    assert [int(lun, 16) >> 48 for lun in luns] == list(range(len(UNITS)))


@in_each
def test_sg_rtpg(records: Records, unit: Unit) -> None:
    text = records.text(f"{unit.name}.rtpg")
    assert number(text, "target port group id") == 1
    assert "0x00 (active/optimized)" in text
    assert number(text, "target port count") == 1


@in_each
def test_nothing_is_wrong(records: Records, unit: Unit) -> None:
    assert "Sense key: No Sense" in records.text(f"{unit.name}.requests")
    records.text(f"{unit.name}.turs")


@in_each
@pytest.mark.parametrize(
    ("command", "check"),
    [
        ("unmap", "unmapped"),
        ("write-same", "written-same"),
        ("write-same-unmap", "written-zeroes"),
        ("compare-and-write", "swapped"),
        ("xcopy", "copied"),
        ("verify", "verify-same"),
        ("stop", "start"),
        ("start", "started"),
    ],
)
def test_what_changes_the_disk(records: Records, unit: Unit, command: str, check: str) -> None:
    records.text(f"{unit.name}.{command}")
    records.text(f"{unit.name}.{check}")


@in_each
def test_differences_are_told(records: Records, unit: Unit) -> None:
    assert "MISCOMPARE" in records.text(f"{unit.name}.verify-other", MISCOMPARE)
    again = records.text(f"{unit.name}.compare-and-write-again", MISCOMPARE)
    assert "Miscompare at byte offset" in again


@in_each
def test_a_stopped_disk_says_so(records: Records, unit: Unit) -> None:
    assert "not ready" in records.text(f"{unit.name}.stopped", STOPPED)
    assert "initializing command required" in records.text(f"{unit.name}.stopped-why")


@in_each
def test_sg_format(records: Records, unit: Unit) -> None:
    """It does not wait for the end: it would look once a minute."""
    assert "Format unit has started" in records.text(f"{unit.name}.format")
    records.text(f"{unit.name}.format-end")
    records.text(f"{unit.name}.formatted")


def test_persistent_reservations(records: Records) -> None:
    """The kernel keeps them: it alone knows its initiators."""
    text = records.text("capabilities")
    assert number(text, "(PTPL_C)") == 1
    for name in ("register-1", "register-2", "reserve", "write-holder", "read-other"):
        records.text(name)
    for key in KEYS:
        assert re.search(rf"^ +{key:#x}$", records.text("keys"), re.M)
    assert "type: Write Exclusive" in records.text("reservation")
    holder, other = records.text("full-status").split("Key=")[1:]
    assert "<< Reservation holder >>" in holder
    assert "not reservation holder" in other
    assert INITIATOR in other
    records.text("write-other", CONFLICT)


def test_a_reservation_is_preempted(records: Records) -> None:
    for name in ("preempt", "clear"):
        records.text(name)
    records.text("attention", ATTENTION)
    assert "Invalid exchange" in records.text("read-preempted", status=1)  # by dd
    assert not re.search(rf"^ +{KEYS[0]:#x}$", records.text("keys-after"), re.M)
    assert "NO registered reservation keys" in records.text("keys-cleared")


def test_multipath(records: Records) -> None:
    """Each logical unit is one map with two paths, whatever identity it has.

    A map's name is the first half of an NAA designator (udev's ID_WWN).
    """
    assert "multipath.conf" not in records.text("multipath")  # nothing wrong with it
    text = records.text("multipath-ll")
    maps = dict(
        re.findall(r"^(\S+) dm-\d+ NVMe,QEMU NVMe Ctrl\n((?:[^\w].*\n|size.*\n)+)", text, re.M)
    )
    assert set(maps) == {f"0x{identities(records, unit)[1][1:17]}" for unit in UNITS}, text
    for paths in maps.values():
        assert "hwhandler='1 alua'" in paths
        assert number(paths, "prio") == 50
        assert len(re.findall(r"active ready running", paths)) == len(PORTALS)
