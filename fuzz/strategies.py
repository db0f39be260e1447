"""Hypothesis strategies derived from the command table's rows.

Nothing here knows a command by name: a new row is fuzzed as soon as it exists.
"""

from __future__ import annotations

from hypothesis import strategies as st

from scsi2nvme.commands import COMMANDS
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Completion
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import MAXIMUM, StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    LBA_FORMAT,
)
from scsi2nvme.scsi.command import Command, Data

# Around these, comparisons and shifts go wrong.
_EDGES = (0, 1, 2, 7, 8, 255, 256, 0x7FFF, 0xFFFF, 0x10000, 0x1FFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
LONGEST_CDB = 64


def field_values(field: Field, *interesting: int) -> st.SearchStrategy[int]:
    """Return a strategy for one field: small, edge, interesting and arbitrary values."""
    edges = {value for value in (*_EDGES, *interesting) if 0 <= value <= field.maximum}
    edges.add(field.maximum)
    return st.one_of(
        st.integers(0, min(field.maximum, 16)),
        st.sampled_from(sorted(edges)),
        st.integers(0, field.maximum),
    )


@st.composite
def cdbs(draw: st.DrawFn, row: Command, blocks: int = 1 << 20) -> bytes:
    """Return a well-formed CDB of a row: reserved bits zero, fields arbitrary.

    LBAs and counts crowd around the capacity, `blocks`.
    """
    near = (blocks - 1, blocks, blocks + 1, blocks // 2)
    values = {
        field.name: draw(field_values(field, *near))
        for field in row.fields
        if field.name == row.length_field or field.name == "lba" or draw(st.booleans())
    }
    return row.build(**values)


@st.composite
def damaged_cdbs(draw: st.DrawFn, row: Command) -> tuple[bytes, int, int]:
    """Return a CDB with one reserved bit set, and that bit as (byte, bit)."""
    reserved = [
        (byte, bit)
        for byte, allowed in enumerate(row.structure.mask)
        for bit in range(8)
        if not allowed >> bit & 1
    ]
    byte, bit = draw(st.sampled_from(reserved))
    cdb = bytearray(draw(cdbs(row)))
    cdb[byte] |= 1 << bit
    return bytes(cdb), byte, bit


def has_reserved_bits(row: Command) -> bool:
    """Whether a row's CDB has any."""
    return any(allowed != 0xFF for allowed in row.structure.mask)


def any_cdbs() -> st.SearchStrategy[bytes]:
    """Return arbitrary byte strings as CDBs, of every length, often with known opcodes."""
    known = st.sampled_from(COMMANDS)
    heads = known.map(lambda row: row.build())
    mixed = st.tuples(heads, st.binary(max_size=LONGEST_CDB), st.integers(0, LONGEST_CDB)).map(
        lambda parts: bytes(
            a ^ b for a, b in zip(parts[0].ljust(64, b"\0"), parts[1].ljust(64, b"\0"), strict=True)
        )[: parts[2]]
    )
    return st.one_of(st.binary(max_size=LONGEST_CDB), mixed)


@st.composite
def namespaces(draw: st.DrawFn) -> NamespaceFacts:
    """Return a namespace with arbitrary capabilities, as a controller may describe it."""
    shift = draw(st.sampled_from((9, 12)))
    blocks = draw(st.sampled_from((8, 1000, 1 << 20, (1 << 32) + 5, 1 << 40)))
    boundary = draw(st.sampled_from((0, 0, 8, 256)))
    bits = st.integers(0, 0xFFFF)
    controller = IDENTIFY_CONTROLLER.build(
        sn=b"FUZZ".ljust(20),
        mn=b"Fuzzed Controller".ljust(40),
        fr=b"1".ljust(8),
        ver=0x00020000,
        oncs=draw(bits) & 0x1FF,
        oacs=draw(bits) & 0x1F,
        fuses=draw(st.integers(0, 1)),
        vwc=draw(st.integers(0, 1)),
        npss=draw(st.integers(0, 4)),
        fna=draw(st.integers(0, 7)),
        acwu=draw(st.sampled_from((0, 7, 255, 0xFFFF))),
        awupf=draw(st.sampled_from((0, 7, 0xFFFF))),
        nn=draw(st.integers(1, 4)),
    )
    namespace = IDENTIFY_NAMESPACE.build(
        nsze=blocks,
        ncap=blocks,
        nuse=draw(st.integers(0, blocks)),
        nlbaf=1,
        flbas=0 if shift == 9 else 1,
        lbafs=LBA_FORMAT.build(lbads=9) + LBA_FORMAT.build(lbads=12),
        nsfeat=draw(st.integers(0, 0x1F)),
        dlfeat=draw(st.integers(0, 0x1F)),
        noiob=boundary,
        npwg=draw(st.sampled_from((0, 7, 15))),
        npdg=draw(st.sampled_from((0, 7, 255))),
        npda=draw(st.sampled_from((0, 7))),
        nacwu=draw(st.sampled_from((0, 7))),
        fpi=draw(st.sampled_from((0, 0x80))),
        rescap=draw(st.integers(0, 255)),
        nguid=draw(st.sampled_from((b"", bytes(range(1, 17))))),
        eui64=draw(st.sampled_from((b"", bytes(range(1, 9))))),
    )
    return NamespaceFacts(
        nsid=1,
        controller=IDENTIFY_CONTROLLER.parse(controller),
        namespace=IDENTIFY_NAMESPACE.parse(namespace),
        maximum_transfer_bytes=draw(st.sampled_from((4096, 65536, 131072, 1 << 20, 2 << 20))),
        nguid=IDENTIFY_NAMESPACE.parse(namespace).bytes("nguid").strip(b"\0"),
        eui64=IDENTIFY_NAMESPACE.parse(namespace).bytes("eui64").strip(b"\0"),
    )


def statuses() -> st.SearchStrategy[int]:
    """Return NVMe statuses: success often, named ones, and every other value."""
    named = st.sampled_from([int(code) for code in StatusCode])
    return st.one_of(st.just(0), st.just(0), named, st.integers(0, MAXIMUM))


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
    """Return how much data an initiator sends for a CDB, bounded for the fuzzer's sake."""
    if row.data is not Data.OUT:
        return 0
    announced = row.data_bytes(row.structure.parse(cdb), block_bytes)
    return announced if announced <= 1 << 16 else 0
