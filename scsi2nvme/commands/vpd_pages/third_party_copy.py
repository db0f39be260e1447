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
from scsi2nvme.commands.token_parameters import (
    OPTIMAL_BYTES,
    TRANSFER_BYTES,
    RodType,
    created_types,
)
from scsi2nvme.commands.vpd_pages.page import VpdPage, device_type
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.copies import CONCURRENT_COPIES
from scsi2nvme.unit.tokens import (
    DEFAULT_INACTIVITY_S,
    LIFETIME_S,
    LONGEST_INACTIVITY_S,
    MOST_RANGES,
)

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
ROD_LIMITS = Structure(
    "Block device ROD token limits third-party copy descriptor",
    32,
    (
        Field("maximum_range_descriptors", 6, 0, 16),
        Field("maximum_inactivity_timeout", 8, 0, 32, "seconds"),
        Field("default_inactivity_timeout", 12, 0, 32, "seconds"),
        Field("maximum_token_transfer_size", 16, 0, 64, "blocks"),
        Field("optimal_transfer_count", 24, 0, 64, "blocks"),
    ),
    spec="SBC-3 6.5.6.3 (from its byte 4 on)",
)
ROD_TOKEN_FEATURES = Structure(
    "ROD token features third-party copy descriptor",
    44,
    (
        Field("remote_tokens", 0, 0, 4),
        Field("minimum_token_lifetime", 12, 0, 32, "seconds"),
        Field("maximum_token_lifetime", 16, 0, 32, "seconds"),
        Field("maximum_token_inactivity_timeout", 20, 0, 32, "seconds"),
        Field("type_specific_length", 42, 0, 16),
    ),
    spec="SPC-4 7.8.17.8 (from its byte 4 on)",
)
BLOCK_ROD_FEATURES = Structure(
    "Block ROD device type specific features descriptor",
    48,
    (
        Field("descriptor_format", 0, 5, 3),
        Field("peripheral_device_type", 0, 0, 5),
        Field("length", 2, 0, 16),
        Field("optimal_length_granularity", 6, 0, 16, "blocks"),
        Field("maximum_bytes", 8, 0, 64),
        Field("optimal_bytes", 16, 0, 64),
        Field("optimal_bytes_to_token", 24, 0, 64),
        Field("optimal_bytes_from_token", 32, 0, 64),
    ),
    spec="SPC-4 7.8.17.8.2",
)
SUPPORTED_RODS = Structure(
    "Supported ROD types third-party copy descriptor",
    4,
    (Field("length", 2, 0, 16),),
    spec="SPC-4 7.8.17.9 (from its byte 4 on)",
)
ROD_TYPE = Structure(
    "ROD type descriptor",
    64,
    (
        Field("rod_type", 0, 0, 32),
        Field("ecpy_int", 4, 7, 1, "within EXTENDED COPY"),
        Field("token_in", 4, 1, 1, "may be written from"),
        Field("token_out", 4, 0, 1, "may be made"),
        Field("preference", 6, 0, 16),
    ),
    spec="SPC-4 7.8.17.9",
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
            action
            for action, row in rows.items()
            if action is not None and row.offered(task.lu, task.nexus)
        )
        answer += bytes([opcode, len(actions), *actions])
    return bytes([len(answer)]) + answer


def _rod_limits(task: Task) -> bytes:
    block = task.lu.block_bytes
    return ROD_LIMITS.build(
        maximum_range_descriptors=MOST_RANGES,
        maximum_inactivity_timeout=LONGEST_INACTIVITY_S,
        default_inactivity_timeout=DEFAULT_INACTIVITY_S,
        maximum_token_transfer_size=TRANSFER_BYTES // block,
        optimal_transfer_count=OPTIMAL_BYTES // block,
    )


def _rod_token_features(task: Task) -> bytes:
    of_blocks = BLOCK_ROD_FEATURES.build(
        peripheral_device_type=device_type(task.lu),
        length=BLOCK_ROD_FEATURES.size - 4,
        optimal_length_granularity=1,
        maximum_bytes=TRANSFER_BYTES,
        optimal_bytes=OPTIMAL_BYTES,
        optimal_bytes_to_token=OPTIMAL_BYTES,
        optimal_bytes_from_token=OPTIMAL_BYTES,
    )
    features = ROD_TOKEN_FEATURES.build(
        minimum_token_lifetime=1,
        maximum_token_lifetime=LIFETIME_S,
        maximum_token_inactivity_timeout=LONGEST_INACTIVITY_S,
        type_specific_length=len(of_blocks),
    )
    return features + of_blocks


def _rod_types(task: Task) -> bytes:
    """Return the types of tokens, in ascending order, the preferred with a one."""
    made = created_types(task.lu)
    entries = [
        ROD_TYPE.build(rod_type=kind, token_in=1, token_out=1, preference=made.index(kind) + 1)
        for kind in sorted(made)
    ]
    entries.append(ROD_TYPE.build(rod_type=RodType.ZERO, token_in=1))
    types = b"".join(entries)
    return SUPPORTED_RODS.build(length=len(types)) + types


def _descriptors(task: Task) -> Iterator[tuple[int, bytes]]:
    """Yield types, in ascending order, and what follows each header."""
    tokens = not task.nexus.stands_for_several
    if tokens:
        yield 0x0000, _rod_limits(task)
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
    if tokens:
        yield 0x0106, _rod_token_features(task)
        yield 0x0108, _rod_types(task)
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
