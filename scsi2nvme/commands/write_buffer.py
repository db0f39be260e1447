"""WRITE BUFFER: the data buffer, and the echo buffer."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.command import Command, Data, Task, Transfer, always
from scsi2nvme.fields import Field
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit.buffers import BOUNDARY_EXPONENT, DATA_BYTES, ECHO_BYTES
from scsi2nvme.unit.reservations import Access

OPCODE = 0x3B
BUFFER_ID = Field("buffer_id", 2)
BUFFER_OFFSET = Field("buffer_offset", 3, 0, 24)
LENGTH = Field("parameter_list_length", 6, 0, 24)
IGNORED = (Field("buffer_id", 2, ignored=True), Field("buffer_offset", 3, 0, 24, ignored=True))


def write_data(task: Task) -> Translation:
    """Spec: SPC-4 6.49.3 (data mode)."""
    yield from ()
    cdb = task.cdb
    if cdb.buffer_id:
        raise task.invalid_field("buffer_id")
    if cdb.buffer_offset % (1 << BOUNDARY_EXPONENT) or cdb.buffer_offset > DATA_BYTES:
        raise task.invalid_field("buffer_offset")
    if cdb.buffer_offset + cdb.parameter_list_length > DATA_BYTES:
        raise task.invalid_field("parameter_list_length")
    task.lu.buffers.write(cdb.buffer_offset, task.data_out)
    return GOOD


def write_echo(task: Task) -> Translation:
    """Spec: SPC-4 6.49.8 (echo buffer mode)."""
    yield from ()
    if task.cdb.parameter_list_length > ECHO_BYTES:
        raise task.invalid_field("parameter_list_length")
    if task.data_out:
        task.lu.buffers.keep_echo(task.nexus.key, task.data_out)
    return GOOD


def row(
    mode: int,
    name: str,
    spec: str,
    translate: Callable[[Task], Translation],
    fields: tuple[Field, ...],
    **more: object,
) -> Command:
    """Return the row of one mode, which has data unless `fields` have no length."""
    sends = LENGTH in fields
    return Command(
        f"WRITE BUFFER, {name}",
        OPCODE,
        10,
        spec,
        translate,
        fields,
        service_action=mode,
        data=Data.OUT if sends else Data.NONE,
        transfer=Transfer.BYTES if sends else Transfer.NONE,
        length_field=LENGTH.name if sends else "",
        access=Access.WRITE,
        needs_ready=False,
        while_reservations_lost=always,
        **more,  # type: ignore[arg-type]
    )


COMMANDS = (
    row(0x02, "data", "SPC-4 6.49.3", write_data, (BUFFER_ID, BUFFER_OFFSET, LENGTH)),
    row(
        0x0A,
        "echo",
        "SPC-4 6.49.8",
        write_echo,
        (Field("mode_specific", 1, 5, 3, ignored=True), *IGNORED, LENGTH),
    ),
)
