"""What the reactor answers by itself, and the engine: the same, whatever fails or does not fit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scsi2nvme.api.statistics import STATISTICS
from scsi2nvme.client import Client
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.commands import COMMANDS
from scsi2nvme.commands.provisioning import UNMAP_BLOCK_DESCRIPTOR, UNMAP_HEADER
from tests.daemon import IQN, MEMORY, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row

BLOCK, BLOCKS = 512, 131072
LEFT_TO_THE_ENGINE = "queues=1"  # the only one is the engine's
ROUNDS = 250
PLACES = (0, 50, 95, 105, 115, 118, 195, 205, 215, BLOCKS - 9)
ROWS = [row for row in COMMANDS if row.hot is not Hot.NO]
FAULTS = (
    "read:status=2/81:lba=100-101",
    "verify:status=2/81:lba=110-111",
    "compare:status=2/81:lba=120-121",
    "write:status=2/80:lba=200-201",
    "write:status=1/82:lba=210-210",
    "write-zeroes:status=2/80:lba=220-221",
    # Once: the engine repeats a hint of PRE-FETCH that has failed, and would meet another.
    "dataset-management:status=2/80:after=7:count=1",
)
# What is tried again, and then done.
PASSING = tuple(
    f"{name}:status=0/21:after={after}:count=1"
    for after, name in enumerate(
        ("read", "write", "compare", "verify", "write-zeroes", "dataset-management"), start=1
    )
)


@contextmanager
def disks(
    tmp_path: Path, faults: tuple[str, ...], *options: str, memory: bool = False
) -> Iterator[tuple[Initiator, Initiator]]:
    """Serve two disks that are the same, to an initiator each; the engine has all of one."""
    with ExitStack() as stack:
        both = []
        for name in ("hot", "cold"):
            (tmp_path / name).mkdir()
            words = (f"fault={each}" for each in faults)
            own = [LEFT_TO_THE_ENGINE] if name == "cold" else []
            plain = spec("emulated", tmp_path / name, block=BLOCK)
            base = f"{MEMORY},block={BLOCK}" if memory else plain
            disk = ",".join([base, *own, *options, *words])
            daemon = stack.enter_context(Daemon(tmp_path / name, disk))
            one = stack.enter_context(Initiator(("127.0.0.1", daemon.port)))
            one.login(IQN)
            one.command(0, bytes(6))
            both.append((one, daemon))
        yield both[0][0], both[1][0]
        some, most = (left_to_the_engine(daemon) for _, daemon in both)
        assert some < most * 3 / 4


def left_to_the_engine(daemon: Daemon) -> int:
    with Client(daemon.state_dir / "control.sock") as client:
        (unit,) = client.call(STATISTICS).units
    return sum(unit.cold.values())


def unmap_list(rng: random.Random) -> bytes:
    descriptors = b"".join(
        UNMAP_BLOCK_DESCRIPTOR.build(lba=rng.choice((0, 50, BLOCKS - 4)), number_of_blocks=count)
        for count in rng.choices((0, 1, 4, 5, 40), k=rng.choice((0, 1, 1, 2, 5, 130)))
    )
    stated = max(0, len(descriptors) + rng.choice((0, 0, 0, -16, -1, 1, 16)))
    header = UNMAP_HEADER.build(
        unmap_data_length=len(descriptors) + 6, unmap_block_descriptor_data_length=stated
    )
    return (header + descriptors)[: rng.choice((None, None, None, 7, 23))]


def command(
    rng: random.Random, rows: Sequence[Command] = ROWS, places: Sequence[int] = PLACES
) -> tuple[Command, bytes, bytes]:
    """Return a row, a CDB of it, and its data, which may not fit."""
    chosen = rng.choice(rows)
    fields = chosen.structure.by_name
    values: dict[str, int] = {
        name: rng.randint(0, fields[name].maximum)
        for name in ("dpo", "fua", "group", "immed", "ndob", "unmap", "bytchk")
        if name in fields
    }
    if rng.random() < 0.05 and "anchor" in fields:
        values["anchor"] = 1
    if chosen.hot is Hot.UNMAP:
        data = unmap_list(rng)
        return chosen, chosen.build(**values, parameter_list_length=len(data)), data
    if "lba" in fields:
        values["lba"] = rng.choice(places)
        values[chosen.length_field] = rng.choice((0, 1, 3, 8, 9, 10, 20))
    cdb = chosen.build(**values)
    if chosen.data is not Data.OUT:
        return chosen, cdb, b""
    size = chosen.data_bytes(chosen.structure.parse(cdb), BLOCK)
    size = max(0, size + rng.choice((0, 0, 0, 0, 0, -1, -BLOCK, 1, BLOCK)))
    filler = rng.choice((b"\0", b"\0", b"\x5a", b"\xa5"))
    return chosen, cdb, filler * size


def sent(one: Initiator, chosen: Command, cdb: bytes, data: bytes) -> tuple[object, ...]:
    size = 0
    if chosen.data is Data.IN:
        size = chosen.data_bytes(chosen.structure.parse(cdb), BLOCK)
    result: ScsiResult = one.command(0, cdb, data_out=data, data_in=size)
    return result.status, result.sense, result.data, result.underflow, result.overflow


@pytest.mark.parametrize("faults", [(), FAULTS, PASSING], ids=["well", "failing", "passing"])
def test_both_say_and_do_the_same(tmp_path: Path, faults: tuple[str, ...]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    whole = row("READ (10)").build(transfer_length=90)
    with disks(tmp_path, faults) as (hot, cold):
        for _ in range(ROUNDS):
            request = command(rng)
            told = sent(hot, *request), sent(cold, *request)
            assert told[0] == told[1], f"{request[0].name} {request[1].hex()}"
        contents = [one.command(0, whole, data_in=90 * BLOCK).data for one in (hot, cold)]
        assert contents[0] == contents[1]


# Zones, of which the hot path reads one at a time

ZONE, CAPACITY = 512, 384  # in blocks
READING = [row for row in ROWS if row.reads_zones]
WRITING = ("WRITE (16)", "RESET WRITE POINTER", "FINISH ZONE")


def change(rng: random.Random, pointers: dict[int, int]) -> tuple[Command, bytes, bytes]:
    """Return what writes at a zone's write pointer, or moves that."""
    start = rng.choice((0, ZONE, BLOCKS - ZONE))
    chosen = row(rng.choice(WRITING))
    if chosen.name != "WRITE (16)":
        pointers[start] = 0 if chosen.name == "RESET WRITE POINTER" else CAPACITY
        return chosen, chosen.build(zone_id=start), b""
    at, count = pointers.get(start, 0), rng.choice((1, 8, 60, 200))
    if at + count <= CAPACITY:
        pointers[start] = at + count
    cdb = chosen.build(lba=start + at, transfer_length=count)
    return chosen, cdb, rng.randbytes(1) * count * BLOCK


@pytest.mark.parametrize("capacity", [CAPACITY, ZONE], ids=["gaps", "no gaps"])
def test_both_read_zones(tmp_path: Path, capacity: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    zoned = (f"zoned={ZONE * BLOCK}", f"zone-capacity={capacity * BLOCK}")
    edges = [start + at for start in (0, ZONE) for at in (0, 5, CAPACITY - 8, CAPACITY, ZONE - 3)]
    pointers: dict[int, int] = {}
    bad = ("read:status=2/81:lba=5-5",)
    with disks(tmp_path, bad, *zoned, memory=True) as (hot, cold):
        for _ in range(120):
            kind = rng.randrange(4)
            request = command(rng, READING, (*edges, BLOCKS - 9)) if kind else change(rng, pointers)
            told = sent(hot, *request), sent(cold, *request)
            assert told[0] == told[1], f"{request[0].name} {request[1].hex()}"


# COMPARE AND WRITE


def altered(rng: random.Random, data: bytes) -> bytes:
    """Return data that differ in a byte, at times."""
    changed = bytearray(data)
    if changed and rng.random() < 0.3:
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


LOST = ("write:status=0/21:done:after=4:count=2", "compare:status=0/21:after=20:count=2")


@pytest.mark.parametrize("fuses", [1, 0], ids=["fused", "not fused"])
@pytest.mark.parametrize(
    "faults", [(), FAULTS, PASSING, LOST], ids=["well", "failing", "passing", "lost"]
)
def test_both_compare_and_write(tmp_path: Path, faults: tuple[str, ...], fuses: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    chosen = row("COMPARE AND WRITE")
    with disks(tmp_path, faults, f"tell=ctrl.fuses:{fuses}") as (hot, cold):
        for number in range(120):
            lba, count = rng.choice((0, 95, 118, 198, 205)), rng.choice((0, 1, 2, 3, 8, 9, 20))
            cdb = row("READ (10)").build(lba=lba, transfer_length=count)
            held = [one.command(0, cdb, data_in=count * BLOCK) for one in (hot, cold)]
            assert (held[0].status, held[0].data) == (held[1].status, held[1].data)
            old = held[0].data or bytes(count * BLOCK)
            new = number.to_bytes(2, "big") * (count * BLOCK // 2)
            request = (
                chosen,
                chosen.build(lba=lba, number_of_blocks=count, fua=rng.randrange(2)),
                altered(rng, old) + new,
            )
            told = sent(hot, *request), sent(cold, *request)
            assert told[0] == told[1], f"{lba}, {count} blocks"


# Sense data

LOGICAL_UNIT_RESET = 5


def ask_for_descriptors(one: Initiator) -> None:
    """Set D_SENSE, and nothing else."""
    sense = row("MODE SENSE (6)").build(dbd=1, page_code=0x0A, allocation_length=16)
    found = one.command(0, sense, data_in=16).data
    page = bytes([*bytes(4), *found[4:6], found[6] | 1 << 2, *found[7:]])
    select = row("MODE SELECT (6)").build(pf=1, parameter_list_length=len(page))
    assert one.command(0, select, data_out=page).status == 0


def test_both_tell_of_a_difference_in_the_format_that_is_asked_for(tmp_path: Path) -> None:
    """Not only what is read of it is the same, but the format, and where the difference is."""
    verify = row("VERIFY (10)").build(lba=3, verification_length=1, bytchk=1)
    swap = row("COMPARE AND WRITE").build(lba=3, number_of_blocks=1)
    differs = bytes(300) + b"\1" + bytes(BLOCK - 301)

    def told(one: Initiator) -> list[str]:
        requests = ((verify, differs), (swap, differs + bytes(BLOCK)))
        return [one.command(0, cdb, data_out=data).sense.hex() for cdb, data in requests]

    with disks(tmp_path, ()) as (hot, cold):
        for one in (hot, cold):
            fixed = told(one)
            assert fixed[1] == "f0000e0000012c0a000000001d0000000000"
            ask_for_descriptors(one)
            assert told(one) == ["720e1d0000000000", f"720e1d000000000c000a8000{300:016x}"]
            assert one.task_management(LOGICAL_UNIT_RESET).response == 0
            assert one.command(0, bytes(6)).status != 0
            assert told(one) == fixed
            for _ in range(8):  # what else is the engine's here is less
                told(one)
