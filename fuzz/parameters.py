"""What an initiator sends beside the CDB: parameter lists that are nearly right.

A row for which no list is known here gets arbitrary bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from scsi2nvme.command import Command, Data, Transfer
from scsi2nvme.commands import (
    log_pages,
    mode,
    persistent_reserve_out,
    provisioning,
    sanitize,
    write_scattered,
)
from scsi2nvme.commands.log_pages.page import PAGE_HEADER, Parameter
from scsi2nvme.fields import Structure
from scsi2nvme.fuzz import strategies
from scsi2nvme.fuzz.strategies import field_values
from scsi2nvme.unit import mode_pages
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.page import PageControl

Lists = Callable[[LogicalUnit], st.SearchStrategy[bytes]]


@st.composite
def structures(draw: st.DrawFn, structure: Structure, *interesting: int) -> bytes:
    """Return an encoded structure with arbitrary fields, most of them zero."""
    values = {
        field.name: draw(field_values(field, *interesting))
        for field in structure.fields
        if draw(st.booleans())
    }
    return structure.build(**values)


@st.composite
def unmap_lists(draw: st.DrawFn, lu: LogicalUnit) -> bytes:
    """Return an UNMAP parameter list; its lengths are usually right."""
    capacity = lu.capacity_blocks
    descriptors = b""
    for _ in range(draw(st.integers(0, 5))):
        blocks = draw(st.integers(0, min(capacity, 1 << 24)))
        lba = draw(st.one_of(st.integers(0, capacity - blocks), st.integers(0, capacity + 2)))
        descriptors += provisioning.UNMAP_BLOCK_DESCRIPTOR.build(lba=lba, number_of_blocks=blocks)
    wrong = draw(st.sampled_from((0, 0, 0, 1, 16, 0xFFFF, -1, -16)))
    header = provisioning.UNMAP_HEADER.build(
        unmap_data_length=len(descriptors) + 6,
        unmap_block_descriptor_data_length=min(max(len(descriptors) + wrong, 0), 0xFFFF),
    )
    return header + descriptors


def _mode_lists(header: Structure) -> Lists:
    @st.composite
    def lists(draw: st.DrawFn, lu: LogicalUnit) -> bytes:
        length = draw(st.sampled_from((0, 0, 8, 16)))
        data = header.build(block_descriptor_length=length) + draw(
            st.binary(min_size=length, max_size=length)
        )
        for page in draw(st.lists(st.sampled_from(mode_pages.PAGES), max_size=3)):
            whole = bytearray(page.with_header(lu.mode.values(page, PageControl.CURRENT), False))
            if draw(st.booleans()):
                whole[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
            data += whole
        return data

    return lists


@st.composite
def _log_lists(draw: st.DrawFn, lu: LogicalUnit) -> bytes:
    data = b""
    for page in draw(st.lists(st.sampled_from(log_pages.PAGES), max_size=2)):
        body = b""
        settable = page.settable(lu)
        for code in draw(st.lists(st.sampled_from((*settable, 0)), max_size=2)):
            size = settable.get(code, 8)
            value = draw(st.binary(min_size=size - 1, max_size=size))
            body += Parameter(code, value).data
        data += PAGE_HEADER.build(
            spf=bool(page.subpage),
            page_code=page.code,
            subpage_code=page.subpage,
            page_length=len(body),
        )
        data += body
    return data


def _reservation_lists(structure: Structure) -> Lists:
    def lists(lu: LogicalUnit) -> st.SearchStrategy[bytes]:
        keys = [each.key for each in lu.reservations.state.registrations.values()]
        own = structures(structure, *keys)
        return st.tuples(own, st.one_of(st.just(b""), st.binary(max_size=40))).map(b"".join)

    return lists


@st.composite
def _overwrite_lists(draw: st.DrawFn, lu: LogicalUnit) -> bytes:
    pattern = draw(st.binary(max_size=5)) * draw(st.sampled_from((1, 2, lu.block_bytes // 4)))
    header = sanitize.OVERWRITE_HEADER.build(
        invert=draw(st.integers(0, 1)),
        test=draw(st.sampled_from((0, 0, 0, 1))),
        overwrite_count=draw(st.integers(0, 18)),
        initialization_pattern_length=len(pattern) + draw(st.sampled_from((0, 0, 0, 1))),
    )
    return header + pattern


@st.composite
def scattered(draw: st.DrawFn, row: Command, lu: LogicalUnit) -> tuple[bytes, bytes]:
    """Return a WRITE SCATTERED of a few ranges, which may meet, and its data."""
    count, size = draw(st.integers(0, 4)), lu.block_bytes
    most = min(lu.capacity_blocks, 8)
    ranges = []
    for _ in range(count):
        blocks = draw(st.integers(0, most))
        lba = draw(st.integers(0, min(20, lu.capacity_blocks - blocks)))
        ranges.append(write_scattered.LBA_RANGE.build(lba=lba, number_of_blocks=blocks))
    total = sum(int.from_bytes(each[8:12], "big") for each in ranges)
    beyond = draw(st.sampled_from((0, 0, 1)))
    cdb = row.build(
        fua=draw(st.integers(0, 1)),
        logical_block_data_offset=1 + beyond,
        number_of_lba_range_descriptors=count,
        buffer_transfer_length=total + draw(st.sampled_from((0, 0, 1))),
    )
    head = bytes(write_scattered.HEADER_BYTES) + b"".join(ranges)
    head = head.ljust((1 + beyond) * size, b"\0")
    blocks_of = (bytes([1 + number % 255]) * size for number in range(total + 1))
    announced = row.data_bytes(row.structure.parse(cdb), size)
    return cdb, (head + b"".join(blocks_of))[:announced]


def _lists(row: Command) -> Lists | None:
    match row.opcode, row.service_action:
        case 0x48, 0x01:
            return _overwrite_lists
        case 0x42, None:
            return unmap_lists
        case 0x15, None:
            return _mode_lists(mode.HEADER_6)
        case 0x55, None:
            return _mode_lists(mode.HEADER_10)
        case 0x4C, None:
            return _log_lists
        case 0x5F, 0x07:
            return _reservation_lists(persistent_reserve_out.MOVE_PARAMETER_LIST)
        case 0x5F, _:
            return _reservation_lists(persistent_reserve_out.PARAMETER_LIST)
    return None


def expectations(data_out: bytes) -> st.SearchStrategy[int | None]:
    """Return how many bytes an initiator may have prepared to move, None: it does not tell."""
    return st.one_of(st.none(), st.just(len(data_out)), st.integers(0, 0xFFFFFFFF))


@st.composite
def requests(draw: st.DrawFn, row: Command, lu: LogicalUnit) -> tuple[bytes, bytes]:
    """Return a well-formed CDB of a row and the data that it announces, or a little less."""
    cdb = draw(
        st.one_of(strategies.fitting_cdbs(row, lu.facts), strategies.cdbs(row, lu.capacity_blocks))
    )
    if row.data is not Data.OUT:
        return cdb, b""
    if row.transfer is Transfer.OFFSET_AND_BLOCKS and draw(st.booleans()):
        return draw(scattered(row, lu))
    lists = _lists(row)
    if lists is not None and draw(st.booleans()):
        data = draw(lists(lu))
        length = row.structure.by_name[row.length_field]
        whole = bytearray(cdb)
        length.write(whole, min(len(data), length.maximum), "big")
        return bytes(whole), data[: length.maximum]
    size = strategies.data_for(row, cdb, lu.block_bytes)
    if row.transfer.counts_bytes or draw(st.booleans()):
        seed = draw(st.binary(min_size=1, max_size=48))
    else:
        seed = b"\0"
    data = (seed * (size // len(seed) + 1))[:size]
    return cdb, data[: len(data) - draw(st.sampled_from((0, 0, 0, 1)))]
