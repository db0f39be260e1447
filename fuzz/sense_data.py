"""Sense data read back, to hold the encoder against. Spec: SPC-4 4.5."""

from __future__ import annotations

from dataclasses import dataclass

from scsi2nvme.scsi.sense import FieldPointer, Sense

_FIXED_BYTES = 18
_INFORMATION, _COMMAND_SPECIFIC, _KEY_SPECIFIC = 0x00, 0x01, 0x02  # descriptor types
_DESCRIPTOR_BYTES = {_INFORMATION: 12, _COMMAND_SPECIFIC: 12, _KEY_SPECIFIC: 8}


class MalformedError(ValueError):
    """These bytes are no sense data."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What sense data say. `specific`: the three sense-key specific bytes, None if not valid."""

    key: int
    asc: int
    ascq: int
    deferred: bool
    information: int | None = None
    command_specific: int | None = None
    specific: bytes | None = None

    @property
    def pointer(self) -> FieldPointer:
        """The sense-key specific bytes as a field pointer."""
        if self.specific is None:
            raise MalformedError("there is no field pointer")
        flags, byte = self.specific[0], int.from_bytes(self.specific[1:], "big")
        return FieldPointer(byte, flags & 7 if flags & 8 else None, bool(flags & 0x40))


def decode(data: bytes) -> Decoded:
    """Decode sense data of either format; MalformedError if they are none."""
    if len(data) < 8 or data[0] & 0x7F not in (0x70, 0x71, 0x72, 0x73):
        raise MalformedError("the response code is unknown")
    if data[7] != len(data) - 8:
        raise MalformedError(f"ADDITIONAL SENSE LENGTH says {data[7]}, {len(data) - 8} follow")
    return _fixed(data) if _is_fixed(data) else _descriptor(data)


def _is_fixed(data: bytes) -> bool:
    return data[0] & 0x7F < 0x72


def _specific(data: bytes) -> bytes | None:
    return data if data[0] & 0x80 else None


def _fixed(data: bytes) -> Decoded:
    if len(data) != _FIXED_BYTES or data[1] or data[2] & 0xF0:
        raise MalformedError("the fixed format has 18 bytes, and bits that are zero")
    return Decoded(
        data[2],
        data[12],
        data[13],
        bool(data[0] & 1),
        int.from_bytes(data[3:7], "big") if data[0] & 0x80 else None,
        int.from_bytes(data[8:12], "big"),
        _specific(data[15:18]),
    )


def _descriptor(data: bytes) -> Decoded:
    if data[0] & 0x80 or any(data[4:7]) or data[1] & 0xF0:
        raise MalformedError("reserved bits are set")
    found: dict[int, bytes] = {}
    at = 8
    while at < len(data):
        kind = data[at]
        size = _DESCRIPTOR_BYTES.get(kind)
        if size is None or kind in found or data[at + 1 : at + 2] != bytes([size - 2]):
            raise MalformedError(f"the descriptor at byte {at} is malformed")
        found[kind] = data[at : at + size]
        at += size
    if at != len(data):
        raise MalformedError("the last descriptor is cut")
    information, command = found.get(_INFORMATION), found.get(_COMMAND_SPECIFIC)
    specific = found.get(_KEY_SPECIFIC)
    return Decoded(
        data[1],
        data[2],
        data[3],
        bool(data[0] & 1),
        int.from_bytes(information[4:], "big") if information else None,
        int.from_bytes(command[4:], "big") if command else None,
        _specific(specific[4:7]) if specific else None,
    )


def differences(sense: Sense, data: bytes) -> list[str]:
    """Return which parts of `sense` do not come back from its encoded form."""
    got = decode(data)
    fixed = _is_fixed(data)
    wrong = []
    code = (sense.code.key, sense.code.asc, sense.code.ascq)
    if (got.key, got.asc, got.ascq) != code:
        wrong.append("code")
    if got.deferred != sense.deferred:
        wrong.append("deferred")
    too_large = fixed and sense.information is not None and sense.information > 0xFFFFFFFF
    if got.information != (None if too_large else sense.information):
        wrong.append("information")
    if fixed:
        command_specific: int | None = min(sense.command_specific or 0, 0xFFFFFFFF)
    else:
        command_specific = sense.command_specific
    if got.command_specific != command_specific:
        wrong.append("command specific information")
    if sense.pointer is not None and (got.specific is None or got.pointer != sense.pointer):
        wrong.append("pointer")
    if sense.pointer is None and sense.progress is None and sense.retries is None:
        if got.specific is not None:
            wrong.append("sense key specific")
    elif got.specific is None:
        wrong.append("sense key specific")
    return wrong
