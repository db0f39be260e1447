"""Numbers that people meet in logs, in words: decoded by the same tables that serve them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from scsi2nvme import commands, status_map, wording
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.hexadecimal import bytes_of
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.nvme.status import BY_VALUE, StatusCode, describe, is_retryable
from scsi2nvme.scsi import sense_data
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    FieldPointer,
    Sense,
    SenseCode,
)

_CDB_MAXIMUM = 260  # bytes. Spec: SPC-4 4.2.3
_DNR, _MORE = 0x4000, 0x2000  # of a status of 15 bits. Spec: NVMe Base 2.0c 3.3.3.2.1
_STATUS = 0x7FF
_PROGRESS = 65536
_NOT_OURS = "is none that scsi2nvme sends"


def _numbers(text: str) -> list[int] | None:
    """Return numbers that stand between slashes or blanks, None if there is anything else."""
    words = re.split(r"[/\s,]+", text.strip())
    each = [re.fullmatch(r"(?:0[xX])?([0-9a-fA-F]{1,4})[hH]?", word) for word in words]
    return [int(found[1], 16) for found in each if found] if all(each) else None


# ---- CDBs ----


def explain_cdb(text: str) -> Iterator[str]:
    """Say what a CDB asks for, or why it is refused."""
    cdb = bytes_of(text)
    if not 0 < len(cdb) <= _CDB_MAXIMUM:
        raise UsageError(f"a CDB has 1 to {_CDB_MAXIMUM} bytes, not {len(cdb)}")
    row = commands.find(cdb)
    if row is None:
        yield from _unknown(cdb)
        return
    yield f"{row.name}, {wording.code(row)}, {row.length} bytes. Spec: {row.spec}"
    if row.doc:
        yield row.doc
    if len(cdb) < row.length:
        refusal = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(len(cdb)))
        yield f"{_refused(refusal)}: it has {_count(len(cdb))}"
        return
    yield from _fields(row, cdb)
    if pointer := row.reserved_bit(cdb):
        yield _refused(Sense(INVALID_FIELD_IN_CDB, pointer=pointer)) + ": it is reserved"
    yield from _meaning(row)


def _unknown(cdb: bytes) -> Iterator[str]:
    selector = commands.service_action_field(cdb[0])
    if selector is None or selector.end > len(cdb):
        yield f"{cdb[0]:02X}h is no operation code that is supported"
        yield _refused(Sense(INVALID_COMMAND_OPERATION_CODE, pointer=FieldPointer(0)))
        return
    yield f"{cdb[0]:02X}h/{selector.read(cdb, 'big'):02X}h is no service action that is supported"
    known = (f"{wording.code(row)} {row.name}" for row in commands.actions(cdb[0]).values())
    yield f"of this operation code there are: {', '.join(known)}"
    yield _refused(Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(*selector.highest_bit("big"))))


def _count(length: int) -> str:
    return f"{length} byte{'s' * (length != 1)}"


def _fields(row: Command, cdb: bytes) -> Iterator[str]:
    names = {name: wording.field_name(name) for name in row.structure.decoded}
    width = max(map(len, names.values()))
    values = row.structure.parse(cdb)
    decoded = row.structure.decoded.items()
    for name, field in sorted(decoded, key=lambda item: (item[1].byte, -item[1].bit)):
        value = values[name]
        last = field.end - 1
        where = f"byte {field.byte}" if last == field.byte else f"bytes {field.byte}-{last}"
        if field.width % 8:
            where += f", bit {field.bit}" if field.width == 1 else f", bits from {field.bit}"
        note = f": {field.doc}" if field.doc else ""
        shown = f"{value}" if value < 10 else f"{value} ({value:X}h)"
        yield f"  {names[name].ljust(width)}  {shown}  [{where}]{note}"


def _meaning(row: Command) -> Iterator[str]:
    if row.data is not Data.NONE:
        yield f"moves data {row.data.value}: {wording.length_law(row)}"
    path = "" if row.hot is Hot.NO else ", in the native data plane while nothing unusual holds"
    if row.nvme:
        yield f"becomes NVMe {', '.join(row.nvme)}{path}"


# ---- sense ----


def explain_sense(text: str) -> Iterator[str]:
    """Say what sense data tell, or what a sense code means and which failures it is told for."""
    match _numbers(text):
        case [asc, ascq] if max(asc, ascq) <= 0xFF:
            words = sense_data.TEXTS.get((asc, ascq), _NOT_OURS)
            yield f"{asc:02X}h/{ascq:02X}h {words}"
        case [key, asc, ascq] if max(key, asc, ascq) <= 0xFF:
            yield from _explain_code(key, asc, ascq)
        case _:
            yield from _explain_data(text)


def _explain_code(key: int, asc: int, ascq: int) -> Iterator[str]:
    try:
        code = sense_data.code_of(key, asc, ascq)
    except ValueError as error:
        raise UsageError(str(error)) from None
    yield wording.sense_code(code if code.text else replace(code, text=_NOT_OURS))
    yield from _causes(code)


def _explain_data(text: str) -> Iterator[str]:
    data = bytes_of(text)
    try:
        sense = sense_data.decode(data)
    except ValueError as error:
        raise UsageError(f"{text}: no sense data: {error}") from None
    known = sense_data.has_code(data)
    yield from _told(sense, code=known)
    if known and sense.pointer is None:  # else it was refused before the controller was asked
        yield from _causes(sense.code)
    whole = sense_data.announced(data)
    if len(data) < whole:
        yield f"cut: {_count(len(data))} of {whole}"
    elif any(data[whole:]):
        yield f"not counted: what follows the {_count(whole)} that are announced"


def _told(sense: Sense, *, code: bool) -> Iterator[str]:
    when = "of an earlier command: " if sense.deferred else ""
    key = sense.code.key.name.replace("_", " ")
    yield when + (wording.sense_code(sense.code) if code else f"{key}, no additional sense code")
    if sense.information is not None:
        yield f"INFORMATION: {sense.information} ({sense.information:X}h)"
    if sense.command_specific is not None:
        yield f"COMMAND-SPECIFIC INFORMATION: {sense.command_specific:X}h"
    if sense.pointer is not None:
        yield f"it is about {_where(sense.pointer)}"
    if sense.progress is not None:
        yield f"progress: {100 * sense.progress / _PROGRESS:.1f} %"
    if sense.retries is not None:
        yield f"after {sense.retries} retries"


def _where(pointer: FieldPointer) -> str:
    bit = "" if pointer.bit is None else f", bit {pointer.bit}"
    whole = "the CDB" if pointer.in_cdb else "the parameter list"
    return f"byte {pointer.byte}{bit} of {whole}"


def _refused(sense: Sense) -> str:
    assert sense.pointer is not None
    return f"refused: {wording.sense_code(sense.code)}, for {_where(sense.pointer)}"


def _causes(code: SenseCode) -> Iterator[str]:
    """Say for which NVMe statuses initiators are told a sense code."""
    for status, meaning in sorted(status_map.TABLE.items()):
        told = (meaning.outcome, meaning.reading, meaning.transient)
        if any(isinstance(each, SenseCode) and _same(each, code) for each in told):
            yield f"told for NVMe {describe(status)}"


def _same(one: SenseCode, other: SenseCode) -> bool:
    return (one.key, one.asc, one.ascq) == (other.key, other.asc, other.ascq)


# ---- NVMe statuses ----


def explain_nvme(text: str) -> Iterator[str]:
    """Say what an NVMe status means, and how a command ends that meets it."""
    numbers = _numbers(text) or []
    match numbers:
        case [status] if status < 1 << 15:
            pass
        case [kind, code] if kind < 8 and code < 1 << 8:
            status = kind << 8 | code
        case _:
            raise UsageError(f"{text}: no NVMe status: SCT/SC, or one number of 15 bits")
    yield describe(status & _STATUS)
    if status & _DNR:
        yield "do not retry (DNR): the same command would fail again"
    if status & _MORE:
        yield "more in the controller's error log (M)"
    known = BY_VALUE.get(status & _STATUS)
    if known is not None:
        yield f"Spec: {known.spec}"
    if is_retryable(status & _STATUS) and not status & _DNR:
        yield "sent again a few times before initiators are told of it"
    yield from _becomes(known, final=bool(status & _DNR))


def _becomes(status: StatusCode | None, *, final: bool) -> Iterator[str]:
    meaning = status_map.meaning_of(0x7FF if status is None else status)
    yield f"told to initiators: {wording.outcome(meaning.outcome)}"
    if meaning.transient is not None and not final:
        yield f"while DNR is zero: {wording.outcome(meaning.transient)}"
    if meaning.reading is not None:
        yield f"to those who only read: {wording.outcome(meaning.reading)}"
    if meaning.at_lba:
        yield "INFORMATION is the first block that failed, where that is known"


KINDS: dict[str, Callable[[str], Iterator[str]]] = {
    "cdb": explain_cdb,
    "sense": explain_sense,
    "nvme": explain_nvme,
}
