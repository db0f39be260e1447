"""Trace points (USDT) as a kernel's tracer sees them, while fio writes.

No program like bpftrace is between: uprobes where the ELF notes say are written into tracefs.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine
from tests.system.units import NAA

pytestmark = pytest.mark.timeout(600)

NOTE = re.compile(
    r"Provider: scsi2nvme\s+Name: (\w+)\n\s+Location: 0x(\w+), Base: 0x\w+, Semaphore: 0x(\w+)\n"
    r"\s+Arguments: (.*)"
)
TEXT = re.compile(r" \.text\s+PROGBITS\s+(\w+) (\w+) (\w+) ")
OPERAND = re.compile(r"-?(\d)@(?:(-?\d*)\(%(\w+)\)|%(\w+))")  # in memory, or in a register
EVENT = re.compile(r": (\w+?)_\d+: \(\w+\) (.*)$", re.MULTILINE)
WRITE_10 = 0x2A
WRITES = 64
# What is read of where an argument points to: name, offset, bits.
BEHIND = {
    ("command_received", 1): (("code", 0, 8),),
    ("sqe_placed", 2): (("opcode", 0, 8), ("nsid", 4, 32)),
}


def register(name: str) -> str:
    """Return a register as the kernel calls it, of whatever part of it: `%r8w`, `%ecx`."""
    whole = re.sub(r"^(r\d+)[bwd]?$", r"\1", name)
    if whole == name and not name[-1].isdigit():
        whole = re.sub(r"^[re]?([a-d])[xlh]$", r"\1x", name)
        whole = re.sub(r"^[re]?(si|di|bp|sp)l?$", r"\1", whole)
    return f"%{whole}"


def arguments(name: str, operands: str) -> Iterator[str]:
    """Yield what a uprobe is to fetch. Spec: Linux Documentation/trace/uprobetracer.rst."""
    for number, operand in enumerate(operands.split()):
        parsed = OPERAND.fullmatch(operand)
        assert parsed, operand
        size, offset, base, held = parsed.groups()
        place = register(held) if held else f"{int(offset or 0):+}({register(base)})"
        yield f"arg{number}={place}:x{int(size) * 8}"
        for field, at, bits in BEHIND.get((name, number), ()):
            yield f"{field}=+{at}({place}):x{bits}"


def definitions(library: Path, path: str) -> list[str]:
    """Return the uprobes of all places of all probes; `library` is at `path` in the machine."""
    command = ["readelf", "--notes", "--sections", "--wide", str(library)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = TEXT.search(told)
    assert found
    address, offset, size = (int(number, 16) for number in found.groups())
    lines = []
    for number, (name, location, semaphore, operands) in enumerate(NOTE.findall(told)):
        place = int(location, 16)
        assert address <= place < address + size
        count = f"(0x{semaphore})" if int(semaphore, 16) else ""
        words = " ".join(arguments(name, operands))
        lines.append(f"p:s2n/{name}_{number} {path}:{place - address + offset:#x}{count} {words}")
    return lines


BEGIN = f"""
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
modprobe tcm_loop
finish() {{
  leave_to_udev
  clear_targets
  end_daemon
  [ ! -e /sys/kernel/tracing/events/s2n ] || echo 0 >/sys/kernel/tracing/events/s2n/enable
  echo >/sys/kernel/tracing/uprobe_events
}}
trap finish EXIT
start_daemon --controller emulated:memory,size=64M
targetcli_all <<END
/backstores/user:nvme create name=traced size=64M cfgstring=0/1
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/traced
END
disk=$(loop_disk {NAA} 0)
keep_from_udev $disk
"""


def test_a_tracer_sees_every_probe(machine: Machine) -> None:
    found = machine.run(
        """
        library=$(python3 -c 'from scsi2nvme import _dataplane; print(_dataplane.__file__)')
        cp $library /share/library
        echo "LIBRARY $library"
        """
    ).output
    lines = definitions(machine.share / "library", found.split("LIBRARY ")[1].strip())
    (machine.share / "events").write_text("".join(f"{line}\n" for line in lines))
    output = machine.run(
        BEGIN
        + f"""
        cd /sys/kernel/tracing
        while read -r line; do echo "$line" >>uprobe_events; done </share/events
        echo 8192 >buffer_size_kb
        echo >trace
        echo 1 >events/s2n/enable
        fio --name=traced --filename=$disk --size=16M --direct=1 --ioengine=libaio --iodepth=4 \\
          --rw=randwrite --bs=4k --number_ios={WRITES}
        echo 0 >events/s2n/enable
        cat trace
        cd /
        """,
        timeout_s=300,
    ).output
    seen: dict[str, list[dict[str, int]]] = {}
    for name, words in EVENT.findall(output):
        values = dict(word.split("=") for word in words.split())
        seen.setdefault(name, []).append({key: int(value, 16) for key, value in values.items()})
    writes = [each for each in seen["command_received"] if each["code"] == WRITE_10]
    assert len(writes) == WRITES
    placed = [each for each in seen["sqe_placed"] if (each["opcode"], each["nsid"]) == (1, 1)]
    assert len(placed) == WRITES
    # Each is followed by its command identifier, and by its task.
    ended = {each["arg1"] & 0xFFFF for each in seen["cqe_taken"] if not each["arg1"] >> 17}
    assert {each["arg1"] for each in placed} <= ended
    good = {each["arg0"] for each in seen["command_answered"] if not each["arg1"]}
    assert {each["arg0"] for each in writes} <= good
