"""Which bits of a CDB are looked at: the usage map holds these, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product
from typing import Any

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.fields import Values
from scsi2nvme.scsi.status import Status
from tests.commands.vectors import VECTORS
from tests.support import bench_of, make_bench, row

# What DPO asks for, not to keep the blocks in a cache, is always so: the bit is supported, as
# DPOFUA of MODE SENSE says, though nothing depends on it. Spec: SBC-3 6.4.1.
GRANTED = {"dpo"}

# What initiators set, and the standards say to ignore: by hand, as bytes. Spec: SPC-4 and SBC-3
# of each command; SCSI-2 7.2.2 (the LUN of byte 1).
USAGES = {
    "TEST UNIT READY": "00 00 00 00 00 04",
    "REQUEST SENSE": "03 01 00 00 ff 04",
    "INQUIRY": "12 01 ff ff ff 04",
    "REPORT LUNS": "a0 00 ff 00 00 00 ff ff ff ff 00 04",
    "READ (6)": "08 1f ff ff ff 04",
    "READ (10)": "28 f8 ff ff ff ff 00 ff ff 04",
    "WRITE (10)": "2a f8 ff ff ff ff 00 ff ff 04",
    "READ (16)": "88 f8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04",
    "COMPARE AND WRITE": "89 f8 ff ff ff ff ff ff ff ff 00 00 00 ff 00 04",
    "VERIFY (10)": "2f f6 ff ff ff ff 00 ff ff 04",
    "WRITE SAME (16)": "93 f9 ff ff ff ff ff ff ff ff ff ff ff ff 00 04",
    "UNMAP": "42 01 00 00 00 00 00 ff ff 04",
    "SYNCHRONIZE CACHE (10)": "35 02 ff ff ff ff 00 ff ff 04",
    "PRE-FETCH (10)": "34 02 ff ff ff ff 00 ff ff 04",
    "FORMAT UNIT": "04 f7 00 00 03 04",
    "RECEIVE DIAGNOSTIC RESULTS": "1c 01 ff ff ff 04",
    "SEND DIAGNOSTIC": "1d f4 00 ff ff 04",
    "READ DEFECT DATA (12)": "b7 1f 00 00 00 00 ff ff ff ff 00 04",
    "PERSISTENT RESERVE OUT, REGISTER": "5f 00 00 00 00 ff ff ff ff 04",
    "PERSISTENT RESERVE OUT, RESERVE": "5f 01 ff 00 00 ff ff ff ff 04",
    "PERSISTENT RESERVE OUT, CLEAR": "5f 03 00 00 00 ff ff ff ff 04",
}

# What the data have to begin with, lest they be refused before all of the CDB was looked at.
PARAMETERS = {"SANITIZE, OVERWRITE": bytes([1, 0, 0, 4])}

by_name = pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)


@pytest.mark.parametrize(("name", "usage"), USAGES.items())
def test_the_usage_map_in_bytes(name: str, usage: str) -> None:
    assert row(name).usage.hex(" ") == usage


def cdbs(command: Command) -> Iterator[dict[str, int]]:
    """Yield values of up to three fields of a CDB, in all combinations, the others zero."""
    names = [field.name for field in command.fields if not field.ignored]
    yield {}
    for some in chain.from_iterable(combinations(names, count) for count in (1, 2, 3)):
        values = {name: command.structure.by_name[name].maximum for name in some}
        few = {name: {1, 2, 4, 8, 24, maximum} for name, maximum in values.items()}
        for each in product(*few.values()):
            chosen = dict(zip(few, each, strict=True))
            if all(value <= values[name] for name, value in chosen.items()):
                yield chosen


@by_name
def test_every_bit_of_the_usage_map_is_looked_at(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: set[str] = set()
    read, attribute = Values.__getitem__, Values.__getattr__

    def getitem(self: Values, name: str) -> int:
        if self.structure is command.structure:
            looked_at.add(name)
        return read(self, name)

    def getattribute(self: Values, name: str) -> int:
        if self.structure is command.structure:
            looked_at.add(name)
        return attribute(self, name)

    monkeypatch.setattr(Values, "__getitem__", getitem)
    monkeypatch.setattr(Values, "__getattr__", getattribute)
    expected = {field.name for field in command.fields if not field.ignored} - GRANTED
    for step in VECTORS[command.name]:
        bench_of(command).run(bytes.fromhex(step.cdb), step.out)
    for values in cdbs(command):
        if looked_at >= expected:
            return
        cdb = command.build(**values)
        announced = command.data_bytes(command.structure.parse(cdb), 512)
        if announced <= 1 << 20:
            data_out = PARAMETERS.get(command.name, b"")[:announced].ljust(announced, b"\0")
            bench_of(command).run(cdb, data_out)
    assert looked_at >= expected, f"nobody reads {expected - looked_at}"


@by_name
def test_what_is_ignored_is_taken_and_changes_nothing(command: Command) -> None:
    ignored = [field for field in command.fields if field.ignored]
    plain = command.build()
    zeroes = bytes(command.data_bytes(command.structure.parse(plain), 512))

    def outcome(cdb: bytes) -> tuple[Any, ...]:
        bench = bench_of(command)
        result = bench.run(cdb, zeroes)
        return result.status, result.sense, result.data_in, bench.model.executed

    for field in ignored:
        every = command.build(**{field.name: field.maximum})
        assert every != plain
        assert outcome(every) == outcome(plain), field.name
        assert not any(
            a & b for a, b in zip(command.usage, field.mask(command.length, "big"), strict=True)
        )


# Spec: SCSI-2 7.2.2. What else initiators that put the LUN there send, means something there now.
@pytest.mark.parametrize("name", ["TEST UNIT READY", "INQUIRY", "REQUEST SENSE", "REPORT LUNS"])
def test_the_lun_of_old_in_the_cdb_is_ignored(name: str) -> None:
    bench = make_bench()
    cdb = bytearray(row(name).build())
    cdb[1] |= 0xE0
    assert bench.run(bytes(cdb)).status is Status.GOOD
