"""Sense data as bytes, read back. Spec: SPC-4 4.5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scsi2nvme.scsi import sense
from scsi2nvme.scsi.sense import FieldPointer, Sense, SenseCode, SenseKey

# T10's texts, of those codes that we know.
TEXTS: dict[tuple[int, int], str] = {
    (each.asc, each.ascq): each.text for each in vars(sense).values() if isinstance(each, SenseCode)
}
_INFORMATION, _COMMAND_SPECIFIC, _KEY_SPECIFIC = 0x00, 0x01, 0x02
_HEADER = 8  # bytes, of either format: ADDITIONAL SENSE LENGTH is the last
_FIXED = (0x70, 0x71)  # response codes
_CODE_END = 14  # where ASC and ASCQ end in the fixed format


def code_of(key: int, asc: int, ascq: int) -> SenseCode:
    """Return a sense code, with an empty text where it is none of ours; ValueError if no key."""
    try:
        return SenseCode(SenseKey(key), asc, ascq, TEXTS.get((asc, ascq), ""))
    except ValueError:
        raise ValueError(f"{key:X}h: no sense key") from None


def announced(data: bytes) -> int:
    """Return how many bytes sense data say that they are."""
    return _HEADER + data[_HEADER - 1]


def has_code(data: bytes) -> bool:
    """Whether sense data are long enough for their additional sense code."""
    fixed = data[0] & 0x7F in _FIXED
    return not fixed or min(len(data), announced(data)) >= _CODE_END


def decode(data: bytes) -> Sense:
    """Return what fixed or descriptor format sense data tell; ValueError if they are neither.

    What they do not announce does not count; what is cut off is zero (see `has_code`).
    """
    response = data[0] & 0x7F if data else 0
    if not 0x70 <= response <= 0x73:
        raise ValueError(f"response code {response:02X}h, not 70h to 73h")
    if len(data) < _HEADER:
        raise ValueError(f"{len(data)} of their {_HEADER} bytes at least")
    data = data[: announced(data)]
    if response in _FIXED:
        return _fixed(data.ljust(18, b"\0"), deferred=response == 0x71)
    return _descriptors(data, deferred=response == 0x73)


def _fixed(data: bytes, *, deferred: bool) -> Sense:
    sense = Sense(
        code_of(data[2] & 0xF, data[12], data[13]),
        information=int.from_bytes(data[3:7], "big") if data[0] & 0x80 else None,
        command_specific=int.from_bytes(data[8:12], "big") or None,
        deferred=deferred,
    )
    return _with_key_specific(sense, data[15:18])


def _descriptors(data: bytes, *, deferred: bool) -> Sense:
    sense = Sense(code_of(data[1] & 0xF, data[2], data[3]), deferred=deferred)
    for kind, body in _each_descriptor(data[_HEADER:]):
        if kind == _INFORMATION and body[0] & 0x80:
            sense = replace(sense, information=int.from_bytes(body[2:10], "big"))
        elif kind == _COMMAND_SPECIFIC:
            sense = replace(sense, command_specific=int.from_bytes(body[2:10], "big"))
        elif kind == _KEY_SPECIFIC:
            sense = _with_key_specific(sense, body[2:5])
    return sense


def _each_descriptor(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each descriptor's type and what follows its length, never less than ten bytes."""
    while len(data) >= 2:
        end = 2 + data[1]
        yield data[0], data[2:end].ljust(10, b"\0")
        data = data[end:]


def _with_key_specific(sense: Sense, data: bytes) -> Sense:
    """Return `sense` with what the sense-key specific bytes tell. Spec: SPC-4 4.5.2.4."""
    if not data[0] & 0x80:
        return sense
    count = int.from_bytes(data[1:3], "big")
    match sense.key:
        case SenseKey.ILLEGAL_REQUEST:
            bit = data[0] & 7 if data[0] & 8 else None
            pointer = FieldPointer(count, bit, in_cdb=bool(data[0] & 0x40))
            return replace(sense, pointer=pointer)
        case SenseKey.NO_SENSE | SenseKey.NOT_READY:
            return replace(sense, progress=count)
        case SenseKey.RECOVERED_ERROR | SenseKey.MEDIUM_ERROR | SenseKey.HARDWARE_ERROR:
            return replace(sense, retries=count)
    return sense
