"""Diagnostic pages of the enclosure that a disk is in, as NVMe-MI tells them.

They are of all disks there: who may send them can take other disks away, or mislead who looks for
one by its light. So they are there where the operator lets initiators use them
(`LogicalUnit.enclosure_allowed`), and nowhere else. Spec: SES-3 6.1; NVMe-MI 1.2 5.8, 5.9.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.management import (
    MOST_BYTES,
    NVMSR_ENCLOSURE,
    OACS_MANAGEMENT,
    ManagementStatus,
    ses_receive,
    ses_send,
)
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import CheckCondition, NvmeError
from scsi2nvme.scsi.sense import (
    ENCLOSURE_FAILURE,
    ENCLOSURE_SERVICES_FAILURE,
    ENCLOSURE_SERVICES_TRANSFER_FAILURE,
    ENCLOSURE_SERVICES_TRANSFER_REFUSED,
    ENCLOSURE_SERVICES_UNAVAILABLE,
    UNSUPPORTED_ENCLOSURE_FUNCTION,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit

PAGES = range(0x01, 0x30)  # that SES defines, or leaves to vendors
_SUPPORTED_PAGES = 0x0D
_HEADER_BYTES = 4
_CODES = {
    ManagementStatus.ENCLOSURE_SERVICES_TRANSFER_FAILURE: ENCLOSURE_SERVICES_TRANSFER_FAILURE,
    ManagementStatus.ENCLOSURE_FAILURE: ENCLOSURE_FAILURE,
    ManagementStatus.ENCLOSURE_SERVICES_TRANSFER_REFUSED: ENCLOSURE_SERVICES_TRANSFER_REFUSED,
    ManagementStatus.UNSUPPORTED_ENCLOSURE_FUNCTION: UNSUPPORTED_ENCLOSURE_FUNCTION,
    ManagementStatus.ENCLOSURE_SERVICES_UNAVAILABLE: ENCLOSURE_SERVICES_UNAVAILABLE,
}
_REFUSED = (ManagementStatus.INVALID_OPCODE, ManagementStatus.INVALID_PARAMETER)
# What is told beside what was asked for.
_DONE = (ManagementStatus.SUCCESS, ManagementStatus.ENCLOSURE_DEGRADED)
Asking = Generator[NvmeCommand, Any, bytes]


def serves_enclosure(lu: LogicalUnit) -> bool:
    """Whether initiators have the pages of an enclosure: ENCSERV."""
    sends = lu.facts.controller_bit("oacs", OACS_MANAGEMENT)
    return lu.enclosure_allowed and sends and lu.facts.controller_bit("nvmsr", NVMSR_ENCLOSURE)


def _ask(command: NvmeCommand, refusal: CheckCondition) -> Asking:
    """Run a command, and return what it read; `refusal` is raised for one that there is not."""
    try:
        completion = yield command
    except NvmeError as error:
        if error.completion.status in (StatusCode.INVALID_OPCODE, StatusCode.INVALID_FIELD):
            raise refusal from None
        raise
    status = completion.dw0 & 0xFF
    if status in _REFUSED:
        raise refusal
    if status not in _DONE:
        raise CheckCondition(Sense(_CODES.get(status, ENCLOSURE_SERVICES_FAILURE)))
    data: bytes = completion.data
    return data


def receive(page_code: int, refusal: CheckCondition, wanted: int = MOST_BYTES) -> Asking:
    """Return an enclosure's page; `refusal` is raised where there is no such page.

    A message carries no more than `MOST_BYTES` of one: who has room for all of a longer page, as
    `wanted` says, is told that it did not come, and not handed a part that looks like the whole.
    """
    data = yield from _ask(ses_receive(page_code), refusal)
    if data[:1] != bytes([page_code]):
        raise CheckCondition(Sense(ENCLOSURE_SERVICES_FAILURE))
    length = _HEADER_BYTES + int.from_bytes(data[2:_HEADER_BYTES], "big")
    if min(length, wanted) > len(data):
        raise CheckCondition(Sense(ENCLOSURE_SERVICES_TRANSFER_FAILURE))
    return data[:length]


def send(page: bytes, refusal: CheckCondition) -> Asking:
    """Send an enclosure a page; `refusal` is raised where it does not take it."""
    if len(page) > MOST_BYTES:
        raise refusal
    return (yield from _ask(ses_send(page), refusal))


def page_codes() -> Asking:
    """Return the codes of its pages, none if it does not tell."""
    refusal = CheckCondition(Sense(ENCLOSURE_SERVICES_UNAVAILABLE))
    try:
        data = yield from receive(_SUPPORTED_PAGES, refusal)
    except CheckCondition:
        return b""
    return bytes(code for code in sorted(set(data[_HEADER_BYTES:])) if code in PAGES)
