"""Parameter lists of EXTENDED COPY: layouts, limits, and what of them is refused before the copy.

Only blocks are copied to blocks: there are no streams, and no inline data. Spec: SPC-4 6.4.
"""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import CheckCondition
from scsi2nvme.scsi.sense import (
    INLINE_DATA_LENGTH_EXCEEDED,
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    TOO_MANY_SEGMENT_DESCRIPTORS,
    TOO_MANY_TARGET_DESCRIPTORS,
    UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE,
    UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE,
    FieldPointer,
    Sense,
    SenseCode,
)

MOST_CSCDS = 16
MOST_SEGMENTS = 64
# More than the most descriptors have, and one more: which limit is exceeded can be told.
MOST_DESCRIPTOR_BYTES = 4096
MOST_SEGMENT_BYTES = 256 << 20

LID1_HEADER = Structure(
    "EXTENDED COPY (LID1) parameter list header",
    16,
    (
        Field("list_identifier", 0),
        Field("str", 1, 5, 1, "sequential striped: of no effect"),
        Field("list_id_usage", 1, 3, 2),
        Field("priority", 1, 0, 3),
        Field("cscd_list_length", 2, 0, 16),
        Field("segment_list_length", 8, 0, 32),
        Field("inline_data_length", 12, 0, 32),
    ),
    spec="SPC-4 6.4.1",
)
LID4_HEADER = Structure(
    "EXTENDED COPY (LID4) parameter list header",
    48,
    (
        Field("parameter_list_format", 0, doc="01h"),
        Field("str", 1, 5, 1, "sequential striped: of no effect"),
        Field("list_id_usage", 1, 3, 2),
        Field("priority", 1, 0, 3),
        Field("header_cscd_list_length", 2, 0, 16, "0020h"),
        Field("g_sense", 15, 1, 1, "sense data with GOOD: not supported"),
        Field("immed", 15, 0, 1),
        Field("header_cscd_type", 16, doc="FFh"),
        Field("list_identifier", 20, 0, 32),
        Field("cscd_list_length", 42, 0, 16),
        Field("segment_list_length", 44, 0, 16),
        Field("inline_data_length", 46, 0, 16),
    ),
    spec="SPC-4 6.5.1",
)
CSCD = Structure(
    "Identification descriptor CSCD descriptor",
    32,
    (
        Field("type_code", 0, doc="E4h"),
        Field("lu_id_type", 1, 6, 2),
        Field("nul", 1, 5, 1, "null device: obsolete"),
        Field("peripheral_device_type", 1, 0, 5),
        Field("relative_initiator_port", 2, 0, 16, "of no effect"),
        Field("code_set", 4, 0, 4),
        Field("association", 5, 4, 2),
        Field("designator_type", 5, 0, 4),
        Field("designator_length", 7),
        Field("designator", 8, 0, 160),
        Field("pad", 28, 2, 1),
        Field("disk_block_length", 29, 0, 24),
    ),
    spec="SPC-4 6.4.5.5",
)
SEGMENT_HEADER = Structure(
    "Segment descriptor header",
    8,
    (
        Field("type_code", 0),
        Field("dc", 1, 1, 1, "the number is one of the destination's blocks"),
        Field("cat", 1, 0, 1, "keep what is no whole block: there is no such"),
        Field("descriptor_length", 2, 0, 16),
        Field("source", 4, 0, 16, "CSCD descriptor identifier"),
        Field("destination", 6, 0, 16, "CSCD descriptor identifier"),
    ),
    spec="SPC-4 6.4.6.1",
)
BLOCKS_TO_BLOCKS = Structure(
    "Block device to block device segment descriptor",
    28,
    (
        Field("number_of_blocks", 10, 0, 16),
        Field("source_lba", 12, 0, 64),
        Field("destination_lba", 20, 0, 64),
    ),
    spec="SPC-4 6.4.6.3",
)
OFFSET_TO_OFFSET = Structure(
    "Block device with offset to block device with offset segment descriptor",
    32,
    (
        Field("number_of_bytes", 8, 0, 32),
        Field("source_lba", 12, 0, 64),
        Field("destination_lba", 20, 0, 64),
        Field("source_offset", 28, 0, 16, "bytes in its first block"),
        Field("destination_offset", 30, 0, 16, "bytes in its first block"),
    ),
    spec="SPC-4 6.4.6.11",
)

IDENTIFICATION_CSCD = 0xE4
LONGEST_NAME = 20  # of a designator in it
SEGMENTS = {0x02: BLOCKS_TO_BLOCKS, 0x0A: OFFSET_TO_OFFSET}  # by type code
DESCRIPTOR_CODES = bytes([*sorted(SEGMENTS), IDENTIFICATION_CSCD])

OWN_UNIT = 0xFFFF  # CSCD descriptor identifier: the one that the command is addressed to
HELD, DISCARDED, NO_IDENTIFIER = 0b00, 0b10, 0b11  # LIST ID USAGE


def wrong(
    byte: int, bit: int | None = None, code: SenseCode = INVALID_FIELD_IN_PARAMETER_LIST
) -> CheckCondition:
    """Return the refusal of a field of the parameter list."""
    return CheckCondition(Sense(code, pointer=FieldPointer(byte, bit, in_cdb=False)))


@dataclass(frozen=True, slots=True)
class Segment:
    """What is to be copied; `offset` is where its descriptor lies in the parameter list.

    `count` is in blocks with `by_blocks`, else in bytes.
    """

    offset: int
    source: int
    destination: int
    count: int
    by_blocks: bool
    lba: int
    to: int
    source_offset: int = 0
    destination_offset: int = 0


@dataclass(frozen=True, slots=True)
class CopyList:
    """A parameter list that is well-formed."""

    header: Values
    cscds: tuple[Values, ...]
    segments: tuple[Segment, ...]

    @property
    def keeps_results(self) -> bool:
        """Whether there is a list identifier."""
        return self.header.list_id_usage != NO_IDENTIFIER


def parse(data: bytes, header: Structure) -> CopyList:
    """Return what a parameter list with such a header says; CheckCondition if it is at fault.

    Nothing of it is looked up yet.
    """
    if len(data) < header.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    values = header.parse(data)
    _check_header(values)
    _check_lengths(values, len(data))
    start = header.size
    middle = start + values.cscd_list_length
    end = middle + values.segment_list_length
    cscds = tuple(_cscd(data, at) for at in range(start, middle, CSCD.size))
    segments = _segments(data[:end], middle)
    if values.inline_data_length:
        raise _wrong_field(values, "inline_data_length", INLINE_DATA_LENGTH_EXCEEDED)
    return CopyList(values, cscds, segments)


def _wrong_field(
    values: Values, name: str, code: SenseCode = INVALID_FIELD_IN_PARAMETER_LIST
) -> CheckCondition:
    byte, bit = values.structure.by_name[name].highest_bit("big")
    return wrong(byte, bit, code)


def _check_header(values: Values) -> None:
    usage, identifier = values.list_id_usage, values.list_identifier
    if usage not in (HELD, DISCARDED, NO_IDENTIFIER):
        raise _wrong_field(values, "list_id_usage")
    if usage == NO_IDENTIFIER and identifier:
        raise _wrong_field(values, "list_identifier")
    if values.structure is LID4_HEADER:
        wanted = {"parameter_list_format": 1, "header_cscd_list_length": 32}
        for name, value in {**wanted, "header_cscd_type": 0xFF, "g_sense": 0}.items():
            if values[name] != value:
                raise _wrong_field(values, name)


def _check_lengths(values: Values, size: int) -> None:
    """Hold the lengths of the lists against limits, and against what was sent."""
    cscds, segments = values.cscd_list_length, values.segment_list_length
    if cscds + segments > MOST_DESCRIPTOR_BYTES:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    if cscds > MOST_CSCDS * CSCD.size:
        raise _wrong_field(values, "cscd_list_length", TOO_MANY_TARGET_DESCRIPTORS)
    if values.structure.size + cscds + segments + values.inline_data_length > size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    if cscds % CSCD.size:
        raise _wrong_field(values, "cscd_list_length")


def _cscd(data: bytes, at: int) -> Values:
    values = CSCD.parse(data[at:])
    if values.type_code != IDENTIFICATION_CSCD:
        raise wrong(at, None, UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE)
    if values.association:
        raise wrong(at + 5, 5)
    if values.designator_length > LONGEST_NAME:
        raise wrong(at + 7)
    return values


def _segments(data: bytes, at: int) -> tuple[Segment, ...]:
    """Return the segments of the list that lies from `at` to the end of `data`."""
    segments: list[Segment] = []
    while at < len(data):
        if len(segments) == MOST_SEGMENTS:
            raise CheckCondition(Sense(TOO_MANY_SEGMENT_DESCRIPTORS))
        layout = SEGMENTS.get(data[at])
        if layout is None:
            raise wrong(at, None, UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE)
        if at + layout.size > len(data):
            raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
        segments.append(_segment(data[at : at + layout.size], at, layout))
        at += layout.size
    return tuple(segments)


def _segment(data: bytes, at: int, layout: Structure) -> Segment:
    header, values = SEGMENT_HEADER.parse(data), layout.parse(data)
    if header.descriptor_length != layout.size - 4:
        raise wrong(at + 2, 7)
    by_blocks = layout is BLOCKS_TO_BLOCKS
    count = values["number_of_blocks" if by_blocks else "number_of_bytes"]
    if not by_blocks and count > MOST_SEGMENT_BYTES:
        raise wrong(at + 8, 7)
    places = (values.source_lba, values.destination_lba)
    offsets = (values.get("source_offset", 0), values.get("destination_offset", 0))
    return Segment(at, header.source, header.destination, count, by_blocks, *places, *offsets)
