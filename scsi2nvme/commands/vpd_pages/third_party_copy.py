"""VPD page 8Fh."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Task
from scsi2nvme.commands.copy_parameters import (
    DESCRIPTOR_CODES,
    MOST_CSCDS,
    MOST_DESCRIPTOR_BYTES,
    MOST_SEGMENT_BYTES,
    MOST_SEGMENTS,
    OWN_UNIT,
)
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.copies import CONCURRENT_COPIES

_HEADER = Structure(
    "Third-party copy descriptor header",
    4,
    (Field("type", 0, 0, 16), Field("length", 2, 0, 16)),
    spec="SPC-4 7.8.17.2",
)
PARAMETER_DATA = Structure(
    "Parameter data third-party copy descriptor",
    28,
    (
        Field("maximum_cscd_count", 4, 0, 16),
        Field("maximum_segment_count", 6, 0, 16),
        Field("maximum_descriptor_list_length", 8, 0, 32),
        Field("maximum_inline_data_length", 12, 0, 32),
    ),
    spec="SPC-4 7.8.17.5 (from its byte 4 on)",
)
GENERAL_COPY_OPERATIONS = Structure(
    "General copy operations third-party copy descriptor",
    32,
    (
        Field("total_concurrent_copies", 0, 0, 32),
        Field("maximum_identified_concurrent_copies", 4, 0, 32),
        Field("maximum_segment_length", 8, 0, 32, "bytes"),
        Field("data_segment_granularity", 12, doc="log2 of bytes"),
        Field("inline_data_granularity", 13, doc="log2 of bytes"),
    ),
    spec="SPC-4 7.8.17.12 (from its byte 4 on)",
)

_COPY_COMMANDS = (0x83, 0x84)


def _commands(task: Task) -> bytes:
    """Return the operation codes with their service actions."""
    answer = b""
    for opcode in _COPY_COMMANDS:
        rows = task.table.actions(opcode)
        actions = sorted(
            action for action, row in rows.items() if action is not None and row.supported(task.lu)
        )
        answer += bytes([opcode, len(actions), *actions])
    return bytes([len(answer)]) + answer


def _descriptors(task: Task) -> Iterator[tuple[int, bytes]]:
    """Yield types, in ascending order, and what follows each header."""
    yield 0x0001, _commands(task)
    yield (
        0x0004,
        PARAMETER_DATA.build(
            maximum_cscd_count=MOST_CSCDS,
            maximum_segment_count=MOST_SEGMENTS,
            maximum_descriptor_list_length=MOST_DESCRIPTOR_BYTES,
        ),
    )
    yield 0x0008, bytes([len(DESCRIPTOR_CODES)]) + DESCRIPTOR_CODES
    identifiers = OWN_UNIT.to_bytes(2, "big")
    yield 0x000C, len(identifiers).to_bytes(2, "big") + identifiers
    yield (
        0x8001,
        GENERAL_COPY_OPERATIONS.build(
            total_concurrent_copies=CONCURRENT_COPIES,
            maximum_identified_concurrent_copies=CONCURRENT_COPIES,
            maximum_segment_length=MOST_SEGMENT_BYTES,
            data_segment_granularity=task.lu.block_bytes.bit_length() - 1,
        ),
    )


def third_party_copy(task: Task) -> bytes:
    """Spec: SPC-4 7.8.17."""
    answer = b""
    for kind, body in _descriptors(task):
        padded = body + bytes(-len(body) % 4)
        answer += _HEADER.build(type=kind, length=len(padded)) + padded
    return answer


PAGES = (VpdPage(0x8F, "Third-party Copy", "SPC-4 7.8.17", third_party_copy),)
