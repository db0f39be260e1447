"""The field language: every SCSI and NVMe structure is declared in it, once.

A `Field` names some bits of a byte string; a `Structure` is a named list of
fields with a size and a byte order. Decoders, encoders, masks of used bits and
generated C tables are all derived from these declarations.

This module knows nothing of SCSI or NVMe and does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import Literal, NamedTuple

ByteOrder = Literal["big", "little"]
_FIRST_BIT = itemgetter(0)


class FieldError(ValueError):
    """A value does not fit its field, or a buffer its structure."""


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bits of a structure.

    `byte` is the offset of the field's first byte. `bit` is the position of
    the field's least significant bit within the byte that holds it: the last
    byte of a big-endian field, the first byte of a little-endian one. Fields
    of whole bytes (identifiers, strings) may be of any length. `ignored`: any
    value is taken, and none can be looked at.
    """

    name: str
    byte: int
    bit: int = 0
    width: int = 8
    doc: str = ""
    ignored: bool = False

    @property
    def size_bytes(self) -> int:
        """How many bytes the field touches."""
        return (self.bit + self.width + 7) // 8

    @property
    def end(self) -> int:
        """The offset after the last byte that the field touches."""
        return self.byte + self.size_bytes

    @property
    def maximum(self) -> int:
        """The largest value that fits."""
        return (1 << self.width) - 1

    def read(self, buffer: bytes | bytearray | memoryview, order: ByteOrder) -> int:
        """Return the field's unsigned value."""
        word = int.from_bytes(buffer[self.byte : self.end], order)
        return (word >> self.bit) & self.maximum

    def write(self, buffer: bytearray, value: int, order: ByteOrder) -> None:
        """Store `value` into the field, leaving all other bits as they are."""
        if not 0 <= value <= self.maximum or self.end > len(buffer):
            raise self.refusal(value, len(buffer))
        word = int.from_bytes(buffer[self.byte : self.end], order)
        word = (word & ~(self.maximum << self.bit)) | (value << self.bit)
        buffer[self.byte : self.end] = word.to_bytes(self.size_bytes, order)

    def refusal(self, value: int, size_bytes: int) -> FieldError:
        """Return why `value` cannot be stored into a buffer of so many bytes."""
        if 0 <= value <= self.maximum:
            return FieldError(f"{self.name}: ends at byte {self.end}, buffer has {size_bytes}")
        return FieldError(f"{self.name}: {value:#x} does not fit {self.width} bits")

    def mask(self, size: int, order: ByteOrder) -> bytes:
        """Return `size` bytes in which exactly this field's bits are set."""
        buffer = bytearray(size)
        self.write(buffer, self.maximum, order)
        return bytes(buffer)

    def highest_bit(self, order: ByteOrder) -> tuple[int, int]:
        """Return (byte, bit) of the field's most significant bit.

        This is where a SCSI field pointer points (SPC-4 4.5.2.4.2).
        """
        top = self.bit + self.width - 1
        if order == "little":
            return self.byte + top // 8, top % 8
        return self.end - 1 - top // 8, top % 8


class Place(NamedTuple):
    """Where a field lies: what its properties say, worked out once.

    `whole`: all bits of its bytes are its own.
    """

    byte: int
    end: int
    bit: int
    maximum: int
    whole: bool


def _place_of(field: Field) -> Place:
    whole = field.width == 8 * field.size_bytes
    return Place(field.byte, field.end, field.bit, field.maximum, whole)


class Values(Mapping[str, int]):
    """The decoded fields of one structure, by name or as attributes; none that is ignored."""

    __slots__ = ("_places", "raw", "structure")

    def __init__(self, structure: Structure, raw: bytes) -> None:
        self.structure = structure
        self.raw = raw
        self._places = structure.places

    def __getitem__(self, name: str) -> int:
        byte, end, bit, maximum, _ = self._places[name]
        return int.from_bytes(self.raw[byte:end], self.structure.order) >> bit & maximum

    def __getattr__(self, name: str) -> int:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{self.structure.name} has no field {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value:#x}" for name, value in self.items())
        return f"{self.structure.name}({fields})"

    def bytes(self, name: str) -> bytes:
        """Return a byte-aligned field as it stands in the buffer; KeyError if there is none."""
        place = self._places[name]
        return self.raw[place.byte : place.end]

    def text(self, name: str) -> str:
        """Return an ASCII field without trailing spaces and NULs, what is not printable as `?`."""
        value = self.bytes(name).rstrip(b" \0")
        return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in value)


@dataclass(frozen=True)
class Structure:
    """A fixed layout of named fields. `spec` cites where it is defined."""

    name: str
    size: int
    fields: tuple[Field, ...]
    order: ByteOrder = "big"
    spec: str = ""

    def __post_init__(self) -> None:
        """Raise FieldError unless each field has bits of its own, and a name.

        In a number that the whole structure is, a field's bits follow each other.
        """
        taken = []
        for field in self.fields:
            byte, bit, width = field.byte, field.bit, field.width
            end = byte + (bit + width + 7) // 8
            if end > self.size:
                raise FieldError(f"{self.name}.{field.name} ends beyond byte {self.size}")
            if width < 1:
                raise FieldError(f"{self.name}.{field.name} has no bits")
            first = 8 * (byte if self.order == "little" else self.size - end) + bit
            taken.append((first, first + width, field))
        taken.sort(key=_FIRST_BIT)
        for (_, last, one), (first, _, other) in pairwise(taken):
            if first < last:
                byte = max(one.byte, other.byte)
                raise FieldError(f"{self.name}.{other.name} overlaps {one.name} at byte {byte}")
        if len(self.by_name) != len(self.fields):
            raise FieldError(f"{self.name} declares a field twice")

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def decoded(self) -> dict[str, Field]:
        """The fields by name, but for those that are ignored."""
        return {field.name: field for field in self.fields if not field.ignored}

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where the decoded fields lie, by name."""
        return {name: _place_of(field) for name, field in self.decoded.items()}

    @cached_property
    def _every_place(self) -> dict[str, Place]:
        return {name: _place_of(field) for name, field in self.by_name.items()}

    @cached_property
    def mask(self) -> bytes:
        """The bits that belong to some field, as `size` bytes."""
        buffer = bytearray(self.size)
        for field in self.fields:
            field.write(buffer, field.maximum, self.order)
        return bytes(buffer)

    def parse(self, buffer: bytes | bytearray | memoryview) -> Values:
        """Decode the first `size` bytes of `buffer`; FieldError if it is shorter."""
        if len(buffer) < self.size:
            raise FieldError(f"{self.name} has {self.size} bytes, got {len(buffer)}")
        return Values(self, bytes(buffer[: self.size]))

    def build(self, **values: int | bytes) -> bytes:
        """Encode: fields not named are zero. Bytes stand as they are, NUL padded.

        Raises FieldError if there is no such field, or a value does not fit it.
        """
        buffer = bytearray(self.size)
        self.write(buffer, **values)
        return bytes(buffer)

    def write(self, buffer: bytearray, **values: int | bytes) -> None:
        """Store the named fields into an existing buffer; FieldError as `build`."""
        for name, value in values.items():
            place = self._every_place.get(name)
            if place is None:
                raise FieldError(f"{self.name} has no field {name!r}")
            byte, end, bit, maximum, whole = place
            if isinstance(value, bytes):
                if len(value) > end - byte:
                    raise FieldError(f"{self.name}.{name}: {len(value)} bytes do not fit")
                buffer[byte:end] = value.ljust(end - byte, b"\0")
                continue
            if not 0 <= value <= maximum or end > len(buffer):
                raise self.by_name[name].refusal(value, len(buffer))
            if not whole:
                others = int.from_bytes(buffer[byte:end], self.order) & ~(maximum << bit)
                value = others | value << bit
            buffer[byte:end] = value.to_bytes(end - byte, self.order)
