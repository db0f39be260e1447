"""How fast a target copies by itself, beside a host that reads and writes the same blocks, and what
another host keeps meanwhile, which reads blocks of 4 KiB at random, 32 at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from bench import load, page, peers, tables
from bench.hosts import READ, WRITE, transfer
from bench.isolation import place_of, until_good
from scsi2nvme.commands import COMMANDS
from scsi2nvme.commands.copy_parameters import BLOCKS_TO_BLOCKS, CSCD, LID1_HEADER, SEGMENT_HEADER
from scsi2nvme.commands.vpd_pages.designators import DESIGNATOR_HEADER, Designator
from tests.iscsi_client import Initiator

SIZE_BYTES = 512 << 20  # of both logical units
COPY_BYTES = 16 << 20  # of one EXTENDED COPY
STEP_BYTES = 1 << 20  # of a host's READ and WRITE
BLOCK_BYTES = 512
BY_TARGET, BY_HOST = "EXTENDED COPY", "a host's READ and WRITE"


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


def by_target(one: Initiator) -> Iterator[int]:
    """Have the target copy; yield how many bytes it has, each time."""
    units = _descriptor(one, 0) + _descriptor(one, 1)
    blocks = COPY_BYTES // BLOCK_BYTES
    for lba in cycle(range(0, SIZE_BYTES // 2 // BLOCK_BYTES, blocks)):
        segment = bytearray(
            BLOCKS_TO_BLOCKS.build(number_of_blocks=blocks, source_lba=lba, destination_lba=lba)
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


def by_host(one: Initiator) -> Iterator[int]:
    """Read and write as a host does that copies by itself; yield how many bytes, each time."""
    for lba in cycle(range(0, SIZE_BYTES // 2 // BLOCK_BYTES, STEP_BYTES // BLOCK_BYTES)):
        data = until_good(one, transfer(READ, STEP_BYTES, lba), data_in=STEP_BYTES).data
        while one.command(1, transfer(WRITE, STEP_BYTES, lba), data_out=data).status:
            pass  # an attention
        yield STEP_BYTES


WAYS = {BY_TARGET: by_target, BY_HOST: by_host}


class Copier:
    """Copies for as long as its context lasts, from LUN 0 to LUN 1; counts bytes."""

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


def run(directory: Path, seconds: int) -> dict[str, dict[str, float]]:
    """Return what each way copies in a second, alone and beside another host, and what that has."""
    report: dict[str, dict[str, float]] = {}
    with peers.scsi2nvme(directory, SIZE_BYTES, namespaces=2) as target:
        report["nobody"] = {"iops": _reads(target, seconds)}
        for name, way in WAYS.items():
            copier = Copier(target, way)
            with copier.going():
                alone = copier.rate(seconds)
                before, begin = copier.bytes, time.monotonic()
                iops = _reads(target, seconds)
                beside = (copier.bytes - before) / (time.monotonic() - begin) / 2**20
            report[name] = {"alone": alone, "beside": beside, "iops": iops}
    return report


def markdown(report: dict[str, dict[str, float]]) -> str:
    """Return the report as a table."""
    head = ["Who copies", "MiB/s", "MiB/s beside reads", "reads ÷ those alone"]
    most = report["nobody"]["iops"]
    rows = [
        [
            name,
            tables.number(one["alone"]),
            tables.number(one["beside"]),
            f"{one['iops'] / most:.2f}",
        ]
        for name, one in report.items()
        if "alone" in one
    ]
    return tables.table(head, rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.copies", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        report = run(Path(directory), arguments.seconds)
    page.deliver(report, markdown(report), "", data=arguments.json, page=None)


if __name__ == "__main__":
    main()
