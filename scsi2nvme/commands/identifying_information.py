"""REPORT and SET IDENTIFYING INFORMATION: what an initiator notes of a logical unit for others."""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.maintenance import MAINTENANCE_IN, MAINTENANCE_OUT
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import GOOD, CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import (
    DEVICE_IDENTIFIER_CHANGED,
    INVALID_FIELD_IN_PARAMETER_LIST,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.identifying import MAXIMUM_BYTES, InformationType
from scsi2nvme.unit.reservations import Access

SUPPORTED_TYPES = 0x7F  # IDENTIFYING INFORMATION TYPE: which there are

HEADER = Structure(
    "Identifying information parameter data",
    4,
    (Field("length", 2, 0, 16),),
    spec="SPC-4 6.32.2",
)
DESCRIPTOR = Structure(
    "Identifying information supported descriptor",
    4,
    (
        Field("information_type", 0, 1, 7),
        Field("maximum_length", 2, 0, 16, "bytes"),
    ),
    spec="SPC-4 6.32.3",
)


def _kind(task: Task) -> InformationType:
    """Return the type that the CDB names."""
    try:
        return InformationType(task.cdb.information_type)
    except ValueError:
        raise task.invalid_field("information_type") from None


def report_identifying_information(task: Task) -> Translation:
    """Spec: SPC-4 6.32."""
    yield from ()
    if task.cdb.information_type == SUPPORTED_TYPES:
        body = b"".join(
            DESCRIPTOR.build(information_type=kind, maximum_length=most)
            for kind, most in MAXIMUM_BYTES.items()
        )
    else:
        body = task.lu.identifying.values.get(_kind(task), b"")
    return Result(data_in=HEADER.build(length=len(body)) + body)


def set_identifying_information(task: Task) -> Translation:
    """Save what is sent; nothing of it means that there is none. Spec: SPC-4 6.43."""
    yield from ()
    kind, value = _kind(task), task.data_out
    if task.cdb.parameter_list_length > MAXIMUM_BYTES[kind]:
        raise task.invalid_field("parameter_list_length")
    if kind is InformationType.TEXT:
        _check_text(value)
    task.lu.identifying.set(kind, value)
    task.lu.establish_attention(DEVICE_IDENTIFIER_CHANGED, but=task.nexus)
    return GOOD


def _check_text(value: bytes) -> None:
    """Refuse what is no UTF-8, pointing at its first such byte."""
    try:
        value.decode()
    except UnicodeDecodeError as error:
        pointer = FieldPointer(error.start, in_cdb=False)
        sense = Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
        raise CheckCondition(sense) from None


_TYPE = Field("information_type", 10, 1, 7, "00h: for programs, 02h: text, 7Fh: which there are")

COMMANDS = (
    Command(
        "REPORT IDENTIFYING INFORMATION",
        MAINTENANCE_IN,
        12,
        "SPC-4 6.32",
        report_identifying_information,
        (Field("allocation_length", 6, 0, 32), _TYPE),
        service_action=0x05,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        kept=True,
    ),
    Command(
        "SET IDENTIFYING INFORMATION",
        MAINTENANCE_OUT,
        12,
        "SPC-4 6.43",
        set_identifying_information,
        (Field("parameter_list_length", 6, 0, 32), _TYPE),
        service_action=0x06,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
    ),
)
