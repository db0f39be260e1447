"""SECURITY PROTOCOL IN and OUT: what security protocols say is handed on as it is.

The controller's security commands are of the whole disk: who may send them can lock all its
namespaces, or erase them by a new key. So they are there where the operator lets initiators use
them (`LogicalUnit.security`), and nowhere else.
"""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.scsi.result import GOOD, Result, Translation
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

INFORMATION = 0x00  # SECURITY PROTOCOL: what protocols there are
INCREMENT = 512

_PROTOCOL_SHIFT, _SPECIFIC_SHIFT = 24, 8  # SECP and SPSP in CDW10


def _command(task: Task, opcode: AdminOpcode, length: int, data_out: bytes = b"") -> NvmeCommand:
    """Return the controller's counterpart. NSSF is zero: a CDB has no field for it.

    Spec: NVMe Base 2.0 5.25 and 5.26.
    """
    cdb = task.cdb
    return NvmeCommand(
        opcode,
        cdw10=cdb.security_protocol << _PROTOCOL_SHIFT | cdb.protocol_specific << _SPECIFIC_SHIFT,
        cdw11=length,
        data_out=data_out,
        data_in=0 if data_out else length,
        admin=True,
        timeout_s=task.command.timeout_s,
    )


def _most(lu: LogicalUnit) -> int:
    """Return what one command may move, in whole increments: security commands are not split."""
    return lu.facts.maximum_transfer_bytes // INCREMENT * INCREMENT


def security_protocol_in(task: Task) -> Translation:
    """What does not fit one command is cut: the data tell their length. Spec: SPC-4 6.40."""
    length = min(task.command.data_bytes(task.cdb, task.lu.block_bytes), _most(task.lu))
    if not length:
        return GOOD
    completion = yield _command(task, AdminOpcode.SECURITY_RECEIVE, length)
    return Result(data_in=completion.data)


def security_protocol_out(task: Task) -> Translation:
    """Spec: SPC-4 6.41. What does not fit one command cannot be parted."""
    length = task.command.data_bytes(task.cdb, task.lu.block_bytes)
    if task.cdb.security_protocol == INFORMATION:
        raise task.invalid_field("security_protocol")
    if length > _most(task.lu):
        raise task.invalid_field("transfer_length")
    if not length:
        return GOOD
    task.lu.blocks_may_change()  # it may lock or erase them, we do not know
    try:
        yield _command(task, AdminOpcode.SECURITY_SEND, length, task.data_out)
    finally:
        task.lu.blocks_may_change()
    return GOOD


def _supported(lu: LogicalUnit) -> bool:
    return lu.security and lu.facts.controller_bit("oacs", 0)


_FIELDS = (
    Field("security_protocol", 1, doc="00h: which there are, 01h to 06h: TCG, EAh: NVMe"),
    Field("protocol_specific", 2, 0, 16),
    Field("inc_512", 4, 7, 1, "the length is in units of 512 bytes"),
)

COMMANDS = (
    Command(
        "SECURITY PROTOCOL IN",
        0xA2,
        12,
        "SPC-4 6.40",
        security_protocol_in,
        (*_FIELDS, Field("allocation_length", 6, 0, 32)),
        data=Data.IN,
        transfer=Transfer.BYTES_OR_512,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        supported=_supported,
        nvme=("Security Receive",),
        timeout_s=60,
    ),
    Command(
        "SECURITY PROTOCOL OUT",
        0xB5,
        12,
        "SPC-4 6.41",
        security_protocol_out,
        (*_FIELDS, Field("transfer_length", 6, 0, 32)),
        data=Data.OUT,
        transfer=Transfer.BYTES_OR_512,
        length_field="transfer_length",
        access=Access.WRITE,
        needs_ready=False,
        supported=_supported,
        nvme=("Security Send",),
        timeout_s=120,
    ),
)
