"""Diagnostic pages: which there are, Translate Address, and those of an enclosure.

RECEIVE DIAGNOSTIC RESULTS. Spec: SPC-4 6.28, 7.2; SBC-3 6.1.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands import enclosure
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import GOOD, CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

SUPPORTED_PAGES, TRANSLATE_ADDRESS = 0x00, 0x40

PAGE_HEADER = Structure(
    "Diagnostic page header",
    4,
    (Field("page_code", 0), Field("page_length", 2, 0, 16)),
    spec="SPC-4 7.2.1",
)
TRANSLATE = Structure(
    "Translate Address diagnostic page",
    14,
    (
        *PAGE_HEADER.fields,
        Field("supplied_format", 4, 0, 3),
        Field("translated_format", 5, 0, 3),
        Field("address", 6, 0, 64),
    ),
    spec="SBC-3 6.1.2, 6.1.3",
)


class AddressFormat(IntEnum):
    """Those of blocks: where on a medium one is, controllers do not tell. Spec: SBC-3 6.1."""

    SHORT_BLOCK = 0b000
    LONG_BLOCK = 0b011


_SHORT_SHIFT = 32  # a short block's address stands in the first of eight bytes


def _invalid(name: str) -> CheckCondition:
    """Return the exception that refuses a field of the parameter list."""
    byte, bit = TRANSLATE.by_name[name].highest_bit("big")
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def send_page(task: Task) -> Translation:
    """Take a page that SEND DIAGNOSTIC brings: what it asks for can be received then."""
    lu, data = task.lu, task.data_out
    if len(data) < PAGE_HEADER.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    header = PAGE_HEADER.parse(data)
    if header.page_code == SUPPORTED_PAGES:
        if header.page_length:
            raise _invalid("page_length")
        answer = yield from _supported_pages(lu)
    elif header.page_code in enclosure.PAGES and enclosure.serves_enclosure(lu):
        if len(data) < PAGE_HEADER.size + header.page_length:
            raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
        page = data[: PAGE_HEADER.size + header.page_length]
        yield from enclosure.send(page, _invalid("page_code"))
        answer = page  # of which the code counts: the page is what it will be when it is received
    elif header.page_code == TRANSLATE_ADDRESS:
        if header.page_length != TRANSLATE.size - PAGE_HEADER.size:
            raise _invalid("page_length")
        if len(data) < TRANSLATE.size:
            raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
        answer = _translated(lu, data)
    else:
        raise _invalid("page_code")
    lu.diagnostics[task.nexus.key] = answer
    return GOOD


def _translated(lu: LogicalUnit, data: bytes) -> bytes:
    """Return the page that says where a block is: where it was said to be."""
    asked = TRANSLATE.parse(data)
    for name in ("supplied_format", "translated_format"):
        if asked[name] not in tuple(AddressFormat):
            raise _invalid(name)
    lba = asked.address
    if asked.supplied_format == AddressFormat.SHORT_BLOCK:
        lba >>= _SHORT_SHIFT
    short = asked.translated_format == AddressFormat.SHORT_BLOCK
    if lba >= lu.capacity_blocks:
        raise _invalid("address")
    if short and lba >> _SHORT_SHIFT:
        raise _invalid("translated_format")
    return TRANSLATE.build(
        page_code=TRANSLATE_ADDRESS,
        page_length=TRANSLATE.size - PAGE_HEADER.size,
        supplied_format=asked.supplied_format,
        translated_format=asked.translated_format,
        address=lba << _SHORT_SHIFT if short else lba,
    )


def _supported_pages(lu: LogicalUnit) -> enclosure.Asking:
    theirs = (yield from enclosure.page_codes()) if enclosure.serves_enclosure(lu) else b""
    pages = bytes((SUPPORTED_PAGES, *theirs, TRANSLATE_ADDRESS))
    return PAGE_HEADER.build(page_code=SUPPORTED_PAGES, page_length=len(pages)) + pages


def receive_diagnostic_results(task: Task) -> Translation:
    """Return the page that is named, or that of the latest SEND DIAGNOSTIC with one.

    Which it is where there was none, is for us to say: that of pages. Spec: SPC-4 6.28 (PCV).
    """
    cdb, lu, sent = task.cdb, task.lu, task.lu.diagnostics.get(task.nexus.key)
    page_code = cdb.page_code if cdb.pcv else sent[0] if sent else SUPPORTED_PAGES
    if page_code == SUPPORTED_PAGES:
        return Result(data_in=(yield from _supported_pages(lu)))
    if page_code in enclosure.PAGES and enclosure.serves_enclosure(lu):
        refusal = task.invalid_field("page_code")
        page = enclosure.receive(page_code, refusal, cdb.allocation_length)
        return Result(data_in=(yield from page))
    if page_code != TRANSLATE_ADDRESS:
        raise task.invalid_field("page_code")
    if sent is None or sent[0] != TRANSLATE_ADDRESS:
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))
    return Result(data_in=sent)


COMMANDS = (
    Command(
        "RECEIVE DIAGNOSTIC RESULTS",
        0x1C,
        6,
        "SPC-4 6.28",
        receive_diagnostic_results,
        (
            Field("pcv", 1, 0, 1, "page code valid"),
            Field("page_code", 2),
            Field("allocation_length", 3, 0, 16),
        ),
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.WRITE,
        needs_ready=False,
        nvme=("NVMe-MI Receive",),
        doc="The pages of an enclosure (SES, 01h to 2Fh) are there where the SPEC says "
        "enclosure=on, and the controller is in one.",
    ),
)
