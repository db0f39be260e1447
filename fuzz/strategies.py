"""Hypothesis strategies derived from the tables' rows.

Nothing here knows a command by name: a new row is fuzzed as soon as it exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from hypothesis import strategies as st

from scsi2nvme import commands
from scsi2nvme.command import Command, Data
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Completion
from scsi2nvme.nvme.directives import Streams
from scsi2nvme.nvme.namespace import NamespaceFacts, Zones
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.nvme.status import MAXIMUM, StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    LBA_FORMAT,
    POWER_STATE,
)

# Around these, comparisons and shifts go wrong.
EDGES = (0, 1, 2, 7, 8, 255, 256, 0x7FFF, 0xFFFF, 0x10000, 0x1FFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
LONGEST_CDB = 64
MOST_DATA = 1 << 16  # bytes of data-out, for the fuzzer's sake
MOST_BLOCKS = 1 << 18  # likewise, what is worth splitting into NVMe commands


@lru_cache(4096)
def field_values(field: Field, *interesting: int) -> st.SearchStrategy[int]:
    """Return a strategy for one field: small, edge, interesting and arbitrary values."""
    return st.one_of(
        st.integers(0, min(field.maximum, 16)),
        st.sampled_from(field_edges(field, *interesting)),
        st.integers(0, field.maximum),
    )


def field_edges(field: Field, *interesting: int) -> list[int]:
    """Return those of a field's values around which something may go wrong, in order."""
    edges = {value for value in (*EDGES, *interesting) if 0 <= value <= field.maximum}
    return sorted(edges | {field.maximum})


def near_capacity(blocks: int) -> tuple[int, ...]:
    """Return the LBAs and counts that matter where there are so many blocks."""
    return blocks - 1, blocks, blocks + 1, blocks // 2


# CDBs


@st.composite
def cdbs(draw: st.DrawFn, row: Command, blocks: int = 1 << 20) -> bytes:
    """Return a well-formed CDB of a row: reserved bits zero, fields arbitrary.

    LBAs and counts crowd around the capacity, `blocks`.
    """
    near = near_capacity(blocks)
    values = {
        field.name: draw(field_values(field, *near))
        for field in row.fields
        if field.name in (row.length_field, "lba") or draw(st.booleans())
    }
    return row.build(**values)


@st.composite
def fitting_cdbs(draw: st.DrawFn, row: Command, facts: NamespaceFacts) -> bytes:
    """Return a CDB whose blocks exist, but for one at times, and can be moved; any flags."""
    capacity = facts.capacity_blocks
    most = min(capacity, MOST_DATA // facts.block_bytes)
    values: dict[str, int] = {}
    plain = draw(st.booleans())
    for field in row.fields:
        if field.name == row.length_field:
            values[field.name] = draw(st.integers(0, min(field.maximum, most)))
        elif field.name != "lba" and not plain:
            values[field.name] = draw(st.one_of(st.just(0), st.integers(0, field.maximum)))
    count = values.get(row.length_field, 0) or row.zero_length_means
    lba = row.structure.by_name.get("lba")
    if lba is not None:
        last = min(lba.maximum, max(0, capacity - count))
        ends = _ends(facts, count) or (last, last, last + 1)
        edges = st.sampled_from([min(each, lba.maximum) for each in ends])
        near = st.integers(0, min(last, 64))
        values["lba"] = draw(st.one_of(near, edges, st.integers(0, last)))
    return row.build(**values)


def _ends(facts: NamespaceFacts, count: int) -> tuple[int, ...]:
    """Return where so many blocks are the last of a zone, if there are any, and one too many."""
    if facts.zones is None:
        return ()
    first = facts.zones.start(facts.capacity_blocks - 1) + facts.zones.capacity - count
    return (first, first + 1) if first >= 0 else ()


def reserved_bits(row: Command) -> list[tuple[int, int]]:
    """Return a row's reserved bits as (byte, bit)."""
    return [
        (byte, bit)
        for byte, allowed in enumerate(row.structure.mask)
        for bit in range(8)
        if not allowed >> bit & 1
    ]


@st.composite
def damaged_cdbs(draw: st.DrawFn, row: Command) -> tuple[bytes, int, int]:
    """Return a CDB with reserved bits set, and the first as (byte, bit): highest bit first."""
    places = st.sampled_from(reserved_bits(row))
    damage = draw(st.lists(places, min_size=1, max_size=3, unique=True))
    cdb = bytearray(draw(cdbs(row)))
    for byte, bit in damage:
        cdb[byte] |= 1 << bit
    byte, negative_bit = min((byte, -bit) for byte, bit in damage)
    return bytes(cdb), byte, -negative_bit


@st.composite
def any_cdbs(draw: st.DrawFn, row: Command) -> bytes:
    """Return an arbitrary byte string as a CDB, of any length, often nearly one of a row."""
    noise = draw(st.binary(max_size=LONGEST_CDB))
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return noise
    if kind == 1:
        row = draw(st.sampled_from(commands.COMMANDS))
    head = row.build() if kind < 3 else draw(cdbs(row))
    mixed = bytearray(max(head, noise, key=len))
    for index in range(min(len(head), len(noise))):
        mixed[index] = head[index] ^ noise[index] if kind < 3 and index else head[index]
    return bytes(mixed[: draw(st.integers(0, LONGEST_CDB))])


# Controllers

# Strategies that are made once: hypothesis looks into each new one before it draws from it, which
# takes longer than the draw.
_SIZES = (8, 1000, 1 << 20, (1 << 32) + 5, 1 << 40)
_ONE_IN_FOUR = st.sampled_from((False, False, False, True))  # of like strategies `one_of` takes one
_NSIDS = st.sampled_from((1, 2, 0xFFFFFFFE))
_TRANSFERS = st.sampled_from((4096, 65536, 131072, 1 << 20, 2 << 20))
_BITS = st.one_of(st.just(0x1FF), st.integers(0, 0x1FF))
_POWER_STATES = b"".join(
    POWER_STATE.build(mp=900 - 200 * each, nops=int(each > 2)) for each in range(5)
)
_FEW_BITS = st.one_of(st.just(0x1F), st.integers(0, 0x1F))
_PROTECTION_TYPES = st.sampled_from((0, 0, 0, 1, 2, 3))
_LIMITS = {
    "vsl": st.sampled_from((0, 0, 1, 5)),
    "aocs": st.integers(0, 1),
    "wzsl": st.sampled_from((0, 0, 1, 5)),
    "dmrl": st.sampled_from((0, 0, 1, 16)),
    "dmrsl": st.sampled_from((0, 0, 8, 1 << 20)),
    "dmsl": st.sampled_from((0, 0, 8, 1 << 24)),
}
_EXTENDED = 1 << 4  # FLBAS: what metadata there are lie behind each block
_CONTROLLER: dict[str, st.SearchStrategy[int | bytes]] = {
    "ieee": st.sampled_from((0, 0x123456)),
    "oncs": _BITS,
    "oacs": st.one_of(_FEW_BITS, st.just(0x21F)),
    "fuses": st.sampled_from((0, 1, 1)),
    "vwc": st.integers(0, 1),
    "npss": st.integers(0, 4),
    "fna": st.integers(0, 7),
    "frmw": st.integers(0, 0x1F),
    "lpa": st.integers(0, 0x1F),
    "sanicap": st.integers(0, 7),
    "elpe": st.sampled_from((0, 63)),
    "edstt": st.sampled_from((0, 10, 0xFFFF)),
    "dsto": st.integers(0, 3),
    "wctemp": st.sampled_from((0, 343, 0xFFFF)),
    "acwu": st.sampled_from((0, 7, 255, 0xFFFF)),
    "awun": st.sampled_from((0xFFFF, 7)),
    "awupf": st.sampled_from((0, 7, 0xFFFF)),
    "nn": st.integers(1, 4),
    "psds": st.one_of(st.binary(max_size=64), st.just(_POWER_STATES)),
}
# What there may be of a controller and of a namespace, all at once.
_WHOLE_CONTROLLER: dict[str, int | bytes] = {
    "oncs": 0x1FF,
    "oacs": 0x21F,
    "fuses": 1,
    "vwc": 1,
    "npss": 4,
    "fna": 7,
    "frmw": 0x1F,
    "lpa": 0x1F,
    "sanicap": 7,
    "elpe": 63,
    "edstt": 10,
    "dsto": 3,
    "wctemp": 343,
    "acwu": 0xFFFF,
    "awun": 0xFFFF,
    "awupf": 0xFFFF,
    "psds": _POWER_STATES,
}
_WHOLE_NAMESPACE = {"nsfeat": 0x1F, "dlfeat": 0x1F, "nabsn": 0, "nabspf": 0, "rescap": 255}
_NAMESPACE: dict[str, st.SearchStrategy[int | bytes]] = {
    "flbas": st.sampled_from((0, 1, _EXTENDED, _EXTENDED | 1)),
    "nsfeat": st.integers(0, 0x1F),
    "dlfeat": st.integers(0, 0x1F),
    "noiob": st.sampled_from((0, 0, 8, 256)),
    "npwg": st.sampled_from((0, 7, 15)),
    "npdg": st.sampled_from((0, 7, 255)),
    "npda": st.sampled_from((0, 7)),
    "nacwu": st.sampled_from((0, 7)),
    "nabsn": st.sampled_from((0, 0, 15)),
    "nabspf": st.sampled_from((0, 0, 7, 11)),
    "nabo": st.sampled_from((0, 0, 4)),
    "fpi": st.sampled_from((0, 0x80)),
    "rescap": st.integers(0, 255),
    "nguid": st.sampled_from((b"", bytes(range(16)))),
    "eui64": st.sampled_from((b"", bytes(range(8)))),
}


_STREAMS = st.sampled_from((None, None, Streams(3), Streams(7, 128, 16)))


@cache
def namespaces(*, most_blocks: int = 1 << 40) -> st.SearchStrategy[NamespaceFacts]:
    """Return a namespace with arbitrary capabilities, as a controller may describe it."""
    return _namespaces(st.sampled_from([each for each in _SIZES if each <= most_blocks]))


@st.composite
def _namespaces(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> NamespaceFacts:
    namespace = IDENTIFY_NAMESPACE.parse(_namespace(draw, draw(sizes)))
    limits = IDENTIFY_NVM_CONTROLLER.build(**_drawn(draw, _LIMITS))
    return NamespaceFacts(
        nsid=draw(_NSIDS),
        controller=IDENTIFY_CONTROLLER.parse(_controller(draw)),
        namespace=namespace,
        maximum_transfer_bytes=draw(_TRANSFERS),
        nguid=_unless_zero(namespace.bytes("nguid")),
        eui64=_unless_zero(namespace.bytes("eui64")),
        nvm_controller=IDENTIFY_NVM_CONTROLLER.parse(limits),
        streams=draw(_STREAMS),
    )


def with_zones(facts: NamespaceFacts) -> NamespaceFacts:
    """Return the same namespace, of one zone or, where it can be halved, of two."""
    blocks = facts.capacity_blocks
    size = blocks if blocks % 2 else blocks // 2
    return replace(facts, zones=Zones(size, size))


@cache
@st.composite
def zoned_or_not(draw: st.DrawFn) -> NamespaceFacts:
    """Return namespaces as `namespaces` does, of which one in four is divided into zones."""
    facts: NamespaceFacts = draw(namespaces())
    if not draw(_ONE_IN_FOUR):
        return facts
    size = facts.capacity_blocks // draw(st.sampled_from(_divisors(facts.capacity_blocks)))
    capacity = draw(st.sampled_from((size, size, max(size // 2, 1), size - (size > 1))))
    return replace(facts, zones=Zones(size, capacity, reads_cross=draw(st.booleans())))


def _divisors(blocks: int) -> list[int]:
    """Return numbers of zones that a namespace can be divided into."""
    return [each for each in (1, 2, 4, 16, 64) if not blocks % each]


def with_all(facts: NamespaceFacts) -> NamespaceFacts:
    """Return the same namespace of a controller that has every capability."""
    controller, namespace = bytearray(facts.controller.raw), bytearray(facts.namespace.raw)
    IDENTIFY_CONTROLLER.write(controller, **_WHOLE_CONTROLLER)
    IDENTIFY_NAMESPACE.write(namespace, **_WHOLE_NAMESPACE)
    return replace(
        facts,
        controller=IDENTIFY_CONTROLLER.parse(bytes(controller)),
        namespace=IDENTIFY_NAMESPACE.parse(bytes(namespace)),
        streams=Streams(7, 128, 16),
    )


def with_tuples(facts: NamespaceFacts, protection_type: int) -> NamespaceFacts:
    """Return the same namespace, with protection information of a type behind each block."""
    raw = bytearray(facts.namespace.raw)
    blocks = LBA_FORMAT.build(lbads=9, ms=TUPLE_BYTES) + LBA_FORMAT.build(lbads=12, ms=TUPLE_BYTES)
    flbas = facts.namespace.flbas | _EXTENDED
    IDENTIFY_NAMESPACE.write(raw, dps=protection_type, lbafs=blocks, flbas=flbas)
    return replace(facts, namespace=IDENTIFY_NAMESPACE.parse(bytes(raw)))


def _drawn(draw: st.DrawFn, fields: Mapping[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    return {name: draw(values) for name, values in fields.items()}


def _unless_zero(identifier: bytes) -> bytes:
    return identifier if any(identifier) else b""


def _controller(draw: st.DrawFn) -> bytes:
    return IDENTIFY_CONTROLLER.build(
        vid=0x1B36,
        sn=b"FUZZ".ljust(20),
        mn=b"Fuzzed Controller".ljust(40),
        fr=b"1".ljust(8),
        ver=0x00020000,
        **_drawn(draw, _CONTROLLER),
    )


def _namespace(draw: st.DrawFn, blocks: int) -> bytes:
    protection_type = draw(_PROTECTION_TYPES)
    metadata = TUPLE_BYTES if protection_type else 0
    return IDENTIFY_NAMESPACE.build(
        nsze=blocks,
        ncap=blocks,
        nuse=draw(st.integers(0, blocks)),
        nlbaf=1,
        dps=protection_type,
        lbafs=LBA_FORMAT.build(lbads=9, ms=metadata) + LBA_FORMAT.build(lbads=12, ms=metadata),
        **_drawn(draw, _NAMESPACE),
    )


@cache
def statuses() -> st.SearchStrategy[int]:
    """Return NVMe statuses: success often, named ones, and every other value."""
    named = st.sampled_from([int(code) for code in StatusCode])
    return st.one_of(st.just(0), st.just(0), named, st.integers(0, MAXIMUM))


@cache
def failures() -> st.SearchStrategy[int]:
    """Return NVMe statuses other than success."""
    return statuses().map(lambda status: status or 0x006)


@cache
def completions() -> st.SearchStrategy[Completion]:
    """Return completions without data."""
    return st.builds(
        Completion,
        status=statuses(),
        dw0=st.integers(0, 0xFFFFFFFF),
        dnr=st.booleans(),
        more=st.booleans(),
    )


def data_for(row: Command, cdb: bytes, block_bytes: int) -> int:
    """Return how much data an initiator sends for a CDB, none if it is too much to fuzz."""
    if row.data is not Data.OUT:
        return 0
    announced = row.data_bytes(row.structure.parse(cdb), block_bytes)
    return announced if announced <= MOST_DATA else 0


def affordable(row: Command, cdb: bytes) -> bool:
    """Whether a CDB names so few blocks that they can be split into NVMe commands here."""
    if row.transfer.counts_bytes or row.length_field not in row.structure.by_name:
        return True
    return row.blocks(row.structure.parse(cdb)) <= MOST_BLOCKS
