"""READ BUFFER: the data buffer, the echo buffer, and what there is of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scsi2nvme.command import Command, Data, Task, Transfer, always
from scsi2nvme.commands import firmware
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import COMMAND_SEQUENCE_ERROR, Sense
from scsi2nvme.unit.buffers import BOUNDARY_EXPONENT, DATA_BYTES, ECHO_BYTES
from scsi2nvme.unit.reservations import Access

NO_OFFSET = 0xFF  # OFFSET BOUNDARY where it is no power of two: none but zero
MOST_BYTES = 0xFFFFFF

DESCRIPTOR = Structure(
    "READ BUFFER descriptor",
    4,
    (
        Field("offset_boundary", 0, doc="a power of two"),
        Field("buffer_capacity", 1, 0, 24),
    ),
    spec="SPC-4 6.18.5",
)
ECHO_DESCRIPTOR = Structure(
    "Echo buffer descriptor",
    4,
    (
        Field("ebos", 0, 0, 1, "each nexus reads what itself has written, or is told"),
        Field("buffer_capacity", 2, 0, 13),
    ),
    spec="SPC-4 6.18.7",
)


def read_data(task: Task) -> Translation:
    """Spec: SPC-4 6.18.4 (data mode)."""
    yield from ()
    cdb = task.cdb
    if cdb.buffer_id:
        raise task.invalid_field("buffer_id")
    if cdb.buffer_offset % (1 << BOUNDARY_EXPONENT) or cdb.buffer_offset > DATA_BYTES:
        raise task.invalid_field("buffer_offset")
    return Result(data_in=task.lu.buffers.read(cdb.buffer_offset, cdb.allocation_length))


def read_descriptor(task: Task) -> Translation:
    """Spec: SPC-4 6.18.5. What there is not has a descriptor of zeros.

    Buffer 0 is the data buffer; the others are the firmware slots of their numbers.
    """
    yield from ()
    lu, number = task.lu, task.cdb.buffer_id
    exponent, capacity = BOUNDARY_EXPONENT, DATA_BYTES
    if number and not (firmware.offered(lu) and number <= firmware.slots(lu)):
        return Result(data_in=bytes(DESCRIPTOR.size))
    if number:
        unit = firmware.granularity(lu)
        power = unit & (unit - 1) == 0
        exponent, capacity = unit.bit_length() - 1 if power else NO_OFFSET, MOST_BYTES
    return Result(data_in=DESCRIPTOR.build(offset_boundary=exponent, buffer_capacity=capacity))


def read_echo(task: Task) -> Translation:
    """Spec: SPC-4 6.18.6 (echo buffer mode)."""
    yield from ()
    echo = task.lu.buffers.echo(task.nexus.key)
    if echo is None:
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))
    return Result(data_in=echo)


def read_echo_descriptor(task: Task) -> Translation:
    """Spec: SPC-4 6.18.7."""
    yield from ()
    return Result(data_in=ECHO_DESCRIPTOR.build(ebos=1, buffer_capacity=ECHO_BYTES))


_ID, _OFFSET, _LENGTH = "buffer_id", "buffer_offset", "allocation_length"
# First byte and bits of each field, by the CDB's length.
_PLACES: dict[int, dict[str, tuple[int, int]]] = {
    10: {_ID: (2, 8), _OFFSET: (3, 24), _LENGTH: (6, 24)},
    16: {_OFFSET: (2, 64), _LENGTH: (10, 32), _ID: (14, 8)},
}


def _fields(length: int, used: tuple[str, ...]) -> Iterator[Field]:
    """Yield the fields of a CDB; of ID and offset those are ignored that are not used."""
    for name, (byte, width) in _PLACES[length].items():
        yield Field(name, byte, 0, width, ignored=name not in (*used, _LENGTH))


def rows(
    mode: int,
    name: str,
    spec: str,
    translate: Callable[[Task], Translation],
    used: tuple[str, ...],
    extra: tuple[Field, ...] = (),
    **more: object,
) -> tuple[Command, Command]:
    """Return the rows of one mode, of READ BUFFER (10) and (16)."""
    ten, sixteen = (
        Command(
            f"READ BUFFER ({length}), {name}",
            opcode,
            length,
            spec,
            translate,
            (*extra, *_fields(length, used)),
            service_action=mode,
            data=Data.IN,
            transfer=Transfer.BYTES,
            length_field=_LENGTH,
            access=Access.READ,
            needs_ready=False,
            while_reservations_lost=always,
            **more,  # type: ignore[arg-type]
        )
        for opcode, length in ((0x3C, 10), (0x9B, 16))
    )
    return ten, sixteen


COMMANDS = (
    *rows(0x02, "data", "SPC-4 6.18.4", read_data, (_ID, _OFFSET)),
    *rows(0x03, "descriptor", "SPC-4 6.18.5", read_descriptor, (_ID,)),
    *rows(0x0A, "echo", "SPC-4 6.18.6", read_echo, ()),
    *rows(0x0B, "echo descriptor", "SPC-4 6.18.7", read_echo_descriptor, ()),
)
