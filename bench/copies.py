"""How fast a target copies by itself, beside the driver alone, by Copy where the disk has it, and a
host that reads and writes; and what another host keeps meanwhile, which reads blocks of 4 KiB at
random, 32 at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, cycle
from pathlib import Path
from typing import Any

from bench import load, machine, page, peers, tables
from bench.hosts import READ, WRITE, transfer
from bench.isolation import place_of, until_good
from scsi2nvme.cli import spec as specs
from scsi2nvme.cli.controllers import open_controller
from scsi2nvme.cli.daemon.memory import POOL_BYTES
from scsi2nvme.commands import COMMANDS
from scsi2nvme.commands.copy_parameters import BLOCKS_TO_BLOCKS, CSCD, LID1_HEADER, SEGMENT_HEADER
from scsi2nvme.commands.vpd_pages.designators import DESIGNATOR_HEADER, Designator
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.copying import CopyLimits, copy_command, copy_limits, ranges_of
from tests.iscsi_client import Initiator

DISKS = ("emulated", "qemu")
SIZE_BYTES = 512 << 20  # of both logical units
COPY_BYTES = 4 << 20  # of one EXTENDED COPY, as ESXi sends it, or token
STEP_BYTES = 1 << 20  # of a host's READ and WRITE, and of the driver's
BLOCK_BYTES = 512
AT_ONCE = 2  # pieces that the driver has under way, as a copy of ours has
BY_COPY, BY_HAND = "the driver alone, by Copy", "the driver alone, by Read and Write"
BY_HOST = "a host's READ and WRITE, to another"
FIGURES = "## Copies in figures\n"


def _descriptor(one: Initiator, lun: int) -> bytes:
    """Return the CSCD descriptor of a logical unit, by its NAA designator."""
    inquiry = next(row for row in COMMANDS if row.name == "INQUIRY")
    cdb = inquiry.build(evpd=1, page_code=0x83, allocation_length=512)
    rest = one.command(lun, cdb, data_in=512).data[4:]
    while rest:
        head = DESIGNATOR_HEADER.parse(rest)
        value, rest = rest[4 : 4 + head.length], rest[4 + head.length :]
        if head.designator_type == Designator.NAA and not head.association:
            return CSCD.build(
                type_code=0xE4,
                code_set=head.code_set,
                designator_type=Designator.NAA,
                designator_length=len(value),
                designator=value,
            )
    raise RuntimeError(f"LUN {lun} has no NAA designator")


def _places() -> Iterator[int]:
    """Yield where what is copied begins, of the first half of a logical unit, again and again."""
    yield from cycle(range(0, SIZE_BYTES // 4 // BLOCK_BYTES, COPY_BYTES // BLOCK_BYTES))


def _by_target(one: Initiator, lun: int, to: int) -> Iterator[int]:
    units = _descriptor(one, 0) + _descriptor(one, lun)
    for lba in _places():
        segment = bytearray(
            BLOCKS_TO_BLOCKS.build(
                number_of_blocks=COPY_BYTES // BLOCK_BYTES,
                source_lba=lba,
                destination_lba=lba + to,
            )
        )
        SEGMENT_HEADER.write(segment, type_code=2, descriptor_length=0x18, destination=1)
        head = LID1_HEADER.build(
            list_id_usage=3, cscd_list_length=len(units), segment_list_length=len(segment)
        )
        data = head + units + segment
        until_good(
            one, bytes([0x83, *bytes(9), *len(data).to_bytes(4, "big"), 0, 0]), data_out=data
        )
        yield COPY_BYTES


def _half() -> int:
    return SIZE_BYTES // 4 // BLOCK_BYTES


def within(one: Initiator) -> Iterator[int]:
    """Have the target copy within LUN 0; yield how many bytes it has, each time."""
    yield from _by_target(one, 0, _half())


def between(one: Initiator) -> Iterator[int]:
    """Have the target copy from LUN 0 to LUN 1, likewise."""
    yield from _by_target(one, 1, 0)


def by_token(one: Initiator) -> Iterator[int]:
    """Have the target copy within LUN 0 as Windows does, likewise."""
    blocks = COPY_BYTES // BLOCK_BYTES
    for lba, number in zip(_places(), count()):
        listed = struct.pack(">HB5xI2xHQI4x", 30, 0, 0, 16, lba, blocks)
        cdb = struct.pack(">BB4xIIxx", 0x83, 0x10, number & 0xFFFFFFFF, len(listed))
        until_good(one, cdb, data_out=listed)
        cdb = struct.pack(">BBI4xIxx", 0x84, 0x07, number & 0xFFFFFFFF, 1024)
        token = until_good(one, cdb, data_in=1024).data[38:550]
        listed = struct.pack(">HB5xQ512s6xHQI4x", 550, 0, 0, token, 16, lba + _half(), blocks)
        cdb = struct.pack(">BB4xIIxx", 0x83, 0x11, number & 0xFFFFFFFF, len(listed))
        until_good(one, cdb, data_out=listed)
        yield COPY_BYTES


def by_host(one: Initiator) -> Iterator[int]:
    """Read and write as a host does that copies by itself; yield how many bytes, each time."""
    for lba in cycle(range(0, SIZE_BYTES // 4 // BLOCK_BYTES, STEP_BYTES // BLOCK_BYTES)):
        data = until_good(one, transfer(READ, STEP_BYTES, lba), data_in=STEP_BYTES).data
        while one.command(1, transfer(WRITE, STEP_BYTES, lba), data_out=data).status:
            pass  # an attention
        yield STEP_BYTES


@dataclass(frozen=True)
class Way:
    """Who copies from the begin of LUN 0, and where to."""

    copies: Callable[[Initiator], Iterator[int]]
    lun: int = 0
    to: Callable[[], int] = _half


WAYS = {
    "EXTENDED COPY, within a logical unit": Way(within),
    "WRITE USING TOKEN, within a logical unit": Way(by_token),
    "EXTENDED COPY, to another": Way(between, 1, lambda: 0),
    BY_HOST: Way(by_host, 1, lambda: 0),
}


async def _ended_well(controller: Controller, command: NvmeCommand) -> bytes:
    (completion,) = await controller.execute(command)
    if completion.status:
        raise RuntimeError(f"{command.name} ends with status {completion.status:X}")
    return completion.data


async def _copy(controller: Controller, lba: int, blocks: int, limits: CopyLimits | None) -> None:
    """Copy some blocks to the other half of a namespace."""
    if limits is not None:
        ranges = ranges_of(lba, blocks, limits.blocks_of_range)
        await _ended_well(controller, copy_command(1, lba + _half(), ranges))
        return
    read = NvmeCommand(Opcode.READ, nsid=1, cdw10=lba, cdw12=blocks - 1)
    data = await _ended_well(controller, replace(read, data_in=blocks * BLOCK_BYTES))
    write = NvmeCommand(Opcode.WRITE, nsid=1, cdw10=lba + _half(), cdw12=blocks - 1)
    await _ended_well(controller, replace(write, data_out=data))


async def _by_driver(spec: str, seconds: float) -> tuple[str, float]:
    controller = await open_controller(specs.parse(spec), io_queues=1, pool_bytes=POOL_BYTES)
    limits, copied, begin = copy_limits(controller.namespaces[1]), 0, time.monotonic()
    most = STEP_BYTES if limits is None else 4 << 20
    blocks = min(most // BLOCK_BYTES, _half() if limits is None else limits.blocks)
    places = cycle(range(0, _half() - blocks + 1, blocks))

    async def go_on() -> None:
        nonlocal copied
        while not copied or time.monotonic() - begin < seconds:
            await _copy(controller, next(places), blocks, limits)
            copied += blocks * BLOCK_BYTES

    try:
        await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
    finally:
        await controller.close()
    rate = copied / (time.monotonic() - begin) / 2**20
    return (BY_HAND if limits is None else BY_COPY), rate


def by_driver(spec: str, seconds: float) -> tuple[str, float]:
    """Return how the driver alone copies within a namespace, and how many MiB in a second."""
    return asyncio.run(_by_driver(spec, seconds))


class Copier:
    """Copies for as long as its context lasts; counts bytes."""

    def __init__(self, target: peers.Target, way: Callable[[Initiator], Iterator[int]]) -> None:
        self.bytes = 0
        self._target, self._way = target, way
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        address, name = place_of(self._target)
        with Initiator(address, name="iqn.2026-11.test:copies", timeout=120) as one:
            one.login(name)
            for lun in (0, 1):
                one.hear(lun)
            for done in self._way(one):
                self.bytes += done
                if self._stop.is_set():
                    return

    @contextmanager
    def going(self) -> Iterator[None]:
        """Copy meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def rate(self, seconds: float) -> float:
        """Return how many MiB it copies in a second, over so many."""
        before, begin = self.bytes, time.monotonic()
        time.sleep(seconds)
        return (self.bytes - before) / (time.monotonic() - begin) / 2**20


def _reads(target: peers.Target, seconds: int) -> float:
    return float(load.run(target.url, load.Load(depth=32, seconds=seconds))["iops"])


def _of_disk(disk: str, directory: Path, seconds: int) -> dict[str, dict[str, float]]:
    """Return what each way copies in a second, alone and beside another host, and what that has."""
    report: dict[str, dict[str, float]] = {}
    with peers.scsi2nvme(directory, SIZE_BYTES, namespaces=2, transport=disk) as target:
        report["nobody"] = {"iops": _reads(target, seconds)}
        for name, way in WAYS.items():
            copier = Copier(target, way.copies)
            with copier.going():
                alone = copier.rate(seconds)
                before, begin = copier.bytes, time.monotonic()
                iops = _reads(target, seconds)
                beside = (copier.bytes - before) / (time.monotonic() - begin) / 2**20
            report[name] = {"alone": alone, "beside": beside, "iops": iops}
    spec = peers.disk(directory, SIZE_BYTES, namespaces=2, transport=disk)
    name, rate = by_driver(spec, seconds)
    return {name: {"alone": rate}, **report}


def run(directory: Path, seconds: int) -> dict[str, dict[str, Any]]:
    """Return a report of each disk."""
    report = {}
    for disk in DISKS:
        (directory / disk).mkdir()
        report[disk] = _of_disk(disk, directory / disk, seconds)
    return report


def _row(name: str, one: dict[str, float], driver: float, reads: float) -> list[str]:
    row = [name, tables.number(one["alone"]), f"{one['alone'] / driver:.2f}"]
    if "iops" not in one:
        return [*row, "", ""]
    return [*row, tables.number(one["beside"]), f"{one['iops'] / reads:.2f}"]


def markdown(report: dict[str, dict[str, Any]]) -> str:
    """Return the report as a table."""
    head = [
        *("Disk", "Who copies", "MiB/s", "÷ the driver alone"),
        *("MiB/s beside reads", "reads ÷ those alone"),
    ]
    rows = []
    for disk, ways in report.items():
        driver, reads = next(iter(ways.values()))["alone"], ways["nobody"]["iops"]
        those = ((name, one) for name, one in ways.items() if name != "nobody")
        rows += [[disk, *_row(name, one, driver, reads)] for name, one in those]
    return tables.table(head, rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.copies", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="has its figures renewed")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    about = {"machine": machine.host(), "load_average": machine.load_average()}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        disks = run(Path(directory), arguments.seconds)
    figures = f"{machine.heading(about)}\n{markdown(disks)}"
    report = {**about, "disks": disks}
    page.deliver(report, figures, FIGURES, data=arguments.json, page=arguments.page)


if __name__ == "__main__":
    main()
