"""STREAM CONTROL, GET STREAM STATUS, WRITE STREAM: streams of writes, by NVMe's directive.

A WRITE of a group is of the stream of that number, as mode page 0Ah/05h says
(`read_write.write`).
"""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.read_write import (
    DPO,
    FORCE_UNIT_ACCESS,
    group_field,
    long_fields,
    protect_field,
    supports_long_cdbs,
    write,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.directives import release_stream
from scsi2nvme.scsi.result import CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import MAXIMUM_NUMBER_OF_STREAMS_OPEN, STREAM_NOT_OPEN, Sense
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

ASSIGNED = Structure(
    "STREAM CONTROL parameter data",
    8,
    (Field("parameter_length", 0), Field("assigned_str_id", 4, 0, 16)),
    spec="SBC-4 5.32.2",
)
HEADER = Structure(
    "GET STREAM STATUS parameter data header",
    8,
    (
        Field("parameter_data_length", 0, 0, 32, "of the descriptors"),
        Field("number_of_open_streams", 6, 0, 16),
    ),
    spec="SBC-4 5.9.2",
)
DESCRIPTOR = Structure(
    "Stream status descriptor",
    8,
    (
        Field("perm", 0, 7, 1, "always open"),
        Field("str_id", 2, 0, 16),
        Field("relative_lifetime", 4, 0, 6, "of what is permanent: its number"),
    ),
    spec="SBC-4 5.9.2",
)
_OPEN, _CLOSE = 0b01, 0b10  # STR_CTL


def stream_control(task: Task) -> Translation:
    """Open a stream, or close one. Spec: SBC-4 4.32, 5.32; NVMe Base 2.0c 8.7.3.

    NVMe opens one by the first write that names it: all that is kept is that it was assigned.
    """
    lu, stream, assigned = task.lu, task.cdb["str_id"], 0
    if task.cdb["str_ctl"] == _OPEN:
        assigned = lu.streams_open.open()
        if not assigned:
            raise CheckCondition(Sense(MAXIMUM_NUMBER_OF_STREAMS_OPEN))
    elif task.cdb["str_ctl"] != _CLOSE:
        raise task.invalid_field("str_ctl")
    elif stream <= lu.permanent_streams:
        raise task.invalid_field("str_id")
    elif stream not in lu.streams_open.all():
        raise CheckCondition(Sense(STREAM_NOT_OPEN))
    else:
        yield release_stream(lu.nsid, stream)
        lu.streams_open.close(stream)  # nobody else was assigned it before
    return Result(data_in=ASSIGNED.build(parameter_length=7, assigned_str_id=assigned))


def get_stream_status(task: Task) -> Translation:
    """Tell which streams are open, from one on. Spec: SBC-4 5.9, SBC-5 (PERM, lifetimes).

    Stream 0, of writes that are of none, is told of as one that is always open: Linux looks for
    the first of the permanent ones there (`drivers/scsi/sd.c`).
    """
    yield from ()
    lu, first = task.lu, task.cdb["starting_str_id"]
    if first > lu.streams:
        raise task.invalid_field("starting_str_id")
    opened = (0, *lu.streams_open.all())
    descriptors = [
        DESCRIPTOR.build(
            perm=stream <= lu.permanent_streams,
            str_id=stream,
            relative_lifetime=stream if stream <= lu.permanent_streams else 0,
        )
        for stream in opened
        if stream >= first
    ]
    body = b"".join(descriptors)
    header = HEADER.build(parameter_data_length=len(body), number_of_open_streams=len(opened))
    return Result(data_in=header + body)


def write_stream(task: Task) -> Translation:
    """Write blocks of a stream that is open. Spec: SBC-4 4.32, 5.57, 5.58."""
    if task.cdb["str_id"] not in (0, *task.lu.streams_open.all()):
        raise CheckCondition(Sense(STREAM_NOT_OPEN))
    return (yield from write(task))


def _has_streams(lu: LogicalUnit) -> bool:
    return lu.streams > 0


COMMANDS = (
    Command(
        "STREAM CONTROL",
        0x9E,
        16,
        "SBC-4 5.32",
        stream_control,
        (
            Field("str_ctl", 1, 5, 2, "01b: open, 10b: close"),
            Field("str_id", 4, 0, 16),
            Field("allocation_length", 10, 0, 32),
        ),
        service_action=0x14,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.WRITE,
        leaves_something=True,
        supported=lambda lu: lu.streams > lu.permanent_streams,
        nvme=("Directive Send",),
        doc="Where the controller has more streams than groups name. A logical unit reset forgets "
        "which were opened.",
    ),
    Command(
        "GET STREAM STATUS",
        0x9E,
        16,
        "SBC-4 5.9",
        get_stream_status,
        (
            Field("starting_str_id", 4, 0, 16),
            Field("allocation_length", 10, 0, 32),
        ),
        service_action=0x16,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        supported=_has_streams,
    ),
    Command(
        "WRITE STREAM (16)",
        0x9A,
        16,
        "SBC-4 5.57",
        write_stream,
        (
            protect_field("wrprotect"),
            Field("lba", 2, 0, 64),
            Field("str_id", 10, 0, 16, "0: of none"),
            Field("transfer_length", 12, 0, 16),
            group_field(14),
            DPO,
            FORCE_UNIT_ACCESS,
        ),
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="wrprotect",
        hint_field="group",
        access=Access.WRITE,
        modifies_medium=True,
        supported=_has_streams,
        nvme=("Write",),
        doc="The stream that it names goes before that of its group.",
    ),
    Command(
        "WRITE STREAM (32)",
        0x7F,
        32,
        "SBC-4 5.58",
        write_stream,
        (
            *long_fields(
                "wrprotect",
                "transfer_length",
                Field("dpo", 10, 4, 1, "disable page out"),
                Field("fua", 10, 3, 1, "force unit access"),
            ),
            Field("str_id", 4, 0, 16, "0: of none"),
        ),
        service_action=0x0010,
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="wrprotect",
        hint_field="group",
        access=Access.WRITE,
        modifies_medium=True,
        supported=lambda lu: lu.streams > 0 and supports_long_cdbs(lu),
        nvme=("Write",),
    ),
)
