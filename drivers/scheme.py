"""How people name controllers, `SCHEME:[PATH][,OPTION=VALUE]…`, as records.

A scheme is one transport's; several schemes may share an option. Nothing here opens
anything: who only parses or explains a name imports no transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scsi2nvme.records import dataclass

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport

MAXIMUM_NAMESPACES = 256
MAXIMUM_SIZE_BYTES = 1 << 62
MAXIMUM_PHYSICAL_BYTES = 65536
SERIAL_CHARACTERS = 20  # the SN field of Identify Controller

METADATA_BYTES = (0, 8, 16, 64)
PROTECTION_TYPES = (0, 1, 2, 3)

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, what VALUE may be, and what it does, for people.

    `parse` returns what a VALUE stands for; its ValueError continues "VALUE …".
    `keyword` is the name under which `Scheme.open` gets it; "": it is not for the
    transport. A repeatable option's values are a tuple. `subject` continues
    "only such controllers have …", where one scheme has the option. A lower `rank`
    stands further up in help.
    """

    name: str
    values: str
    doc: str
    parse: Callable[[str], object]
    rank: int
    keyword: str = ""
    subject: str = "it"
    repeatable: bool = False


def _accept(path: str, options: Mapping[str, Any]) -> None:
    """Whatever was parsed is good."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One transport, as people choose it.

    `options` returns those that there are. It may import what they belong to: it is asked
    only about a SPEC with options, and by help.
    `check` gets PATH and the options that were given, by their names, and says in a
    ValueError what is wrong with them. `open` gets PATH and the options for the
    transport, by their keywords; it raises TransportError, and the caller closes what
    it returns. `inspect` does the same for who will only read what the controller says of
    itself, where that makes a difference: it makes nothing that is not there, and leaves no
    trace. `rehearse` leaves none either, but fails just where `open` would, which makes what is
    missing; it is told whether somebody holds the disk who will have let go of it by then, and may
    return None where that leaves nothing to try.
    `lasting_name` returns how the controller at PATH may be called wherever
    its number would do, "" where it has none. `place` returns where the disk at PATH is, however
    PATH is written, "" where it ends with the process. `pci_address` returns the address of the
    machine's own disk that PATH means, "" where it is none of these. `capabilities`
    returns what must not be given up, by the names of capabilities(7).
    """

    name: str
    doc: str
    options: Callable[[], tuple[Option, ...]]
    open: Callable[[str, Mapping[str, Any]], Transport]
    check: Callable[[str, Mapping[str, Any]], None] = _accept
    lasting_name: Callable[[str], str] = lambda path: ""
    place: Callable[[str], str] = lambda path: ""
    pci_address: Callable[[str], str] = lambda path: ""
    capabilities: Callable[[Mapping[str, Any]], frozenset[str]] = lambda options: frozenset()
    inspect: Callable[[str, Mapping[str, Any]], Transport] | None = None
    rehearse: Callable[[str, Mapping[str, Any], bool], Transport | None] | None = None

    def inspected(self, path: str, options: Mapping[str, Any]) -> Transport:
        """Return the transport for who will only read what the controller says of itself."""
        return (self.inspect or self.open)(path, options)

    def rehearsed(self, path: str, options: Mapping[str, Any], *, held: bool) -> Transport | None:
        """Return the transport for who asks whether `open` would succeed; None: nobody can tell."""
        if self.rehearse is not None:
            return self.rehearse(path, options, held)
        return None if held else self.open(path, options)


# ---- what several schemes share ----


def parse_size(text: str) -> int:
    """Return bytes for `4096`, `64K`, `1G`, `2TiB`; units are powers of 1024."""
    digits = text.rstrip("KMGTPiBkmgtpb")
    unit = text[len(digits) :].upper().removesuffix("B").removesuffix("I")
    if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS:
        raise ValueError("is not a size such as 512M, 64G or 2T")
    size = int(digits) << _UNITS[unit]
    if not 0 < size <= MAXIMUM_SIZE_BYTES:
        raise ValueError(f"is not between 1 byte and {MAXIMUM_SIZE_BYTES >> 50} PiB")
    return size


def parse_switch(text: str) -> bool:
    """Return whether `on` is said, and not `off`."""
    if text not in ("on", "off"):
        raise ValueError("is not on or off")
    return text == "on"


def _block(text: str) -> int:
    if text not in ("512", "4096"):
        raise ValueError("is not 512 or 4096")
    return int(text)


def _one_of(numbers: Sequence[int]) -> Callable[[str], int]:
    """Return what parses one of some numbers."""

    def parse(text: str) -> int:
        if text not in map(str, numbers):
            raise ValueError(f"is none of {', '.join(map(str, numbers))}")
        return int(text)

    return parse


def _namespaces(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAXIMUM_NAMESPACES):
        raise ValueError(f"is not a number from 1 to {MAXIMUM_NAMESPACES}")
    return int(text)


def _physical(text: str) -> int:
    size = parse_size(text)
    if not 512 <= size <= MAXIMUM_PHYSICAL_BYTES or size & (size - 1):
        raise ValueError(f"is no power of two from 512 to {MAXIMUM_PHYSICAL_BYTES}")
    return size


def check_serial(text: str) -> str:
    """Return a serial number; ValueError if a controller cannot have it."""
    if not 1 <= len(text) <= SERIAL_CHARACTERS or not (text.isascii() and text.isprintable()):
        raise ValueError(f"is not 1 to {SERIAL_CHARACTERS} printable ASCII characters")
    return text


SIZE = Option(
    "size",
    "BYTES",
    "size of each namespace, with K, M, G or T (default 1G)",
    parse_size,
    10,
    "size_bytes",
)
BLOCK = Option("block", "512|4096", "logical block length (default 512)", _block, 20, "block_bytes")
METADATA = Option(
    "metadata",
    "|".join(map(str, METADATA_BYTES)),
    "how many bytes of metadata each block has (default 0)",
    _one_of(METADATA_BYTES),
    22,
    "metadata_bytes",
)
PROTECTION = Option(
    "protection",
    "|".join(map(str, PROTECTION_TYPES)),
    "the type of protection information in the metadata (default 0: none)",
    _one_of(PROTECTION_TYPES),
    24,
    "protection_type",
)
PROTECTION_FIRST = Option(
    "protection-first",
    "on|off",
    "whether protection information is in the first bytes of the metadata, not the last (default "
    "off)",
    parse_switch,
    25,
    "protection_first",
)
EXTENDED = Option(
    "extended",
    "on|off",
    "whether metadata is moved behind its block, not in a buffer of its own (default off)",
    parse_switch,
    26,
    "extended",
)
NAMESPACES = Option(
    "namespaces",
    "N",
    f"how many namespaces, 1 to {MAXIMUM_NAMESPACES} (default 1)",
    _namespaces,
    30,
    "namespaces",
)
SERIAL = Option("serial", "TEXT", "the controller's serial number", check_serial, 40, "serial")
CACHE = Option(
    "cache", "on|off", "whether there is a volatile write cache", parse_switch, 50, "write_cache"
)
PHYSICAL = Option(
    "physical",
    "BYTES",
    "the largest physical block that initiators are told, 512 to 64K (default 4096: ESXi and "
    "Windows take no disk with larger ones)",
    _physical,
    65,
)
READONLY = Option("readonly", "on|off", "refuse every write (default off)", parse_switch, 70)
REMOVABLE = Option(
    "removable",
    "on|off",
    "tell initiators that the medium is removable: START STOP UNIT ejects and loads it (default "
    "off)",
    parse_switch,
    70,
)
SANITIZE = Option(
    "sanitize",
    "on|off",
    "let initiators erase all namespaces of the controller, whichever they see, by SANITIZE "
    "(default off)",
    parse_switch,
    71,
)
_SECURE_FORMATS = {"off": 0, "data": 1, "crypto": 2}  # Secure Erase Settings


def _secure_format(text: str) -> int:
    if text not in _SECURE_FORMATS:
        raise ValueError(f"is not {', '.join(_SECURE_FORMATS)}")
    return _SECURE_FORMATS[text]


SECURE_FORMAT = Option(
    "secure_format",
    "|".join(_SECURE_FORMATS),
    "have FORMAT UNIT erase what was on the disk: as user data, or by its encryption key "
    "(default off: it may be left in spare blocks)",
    _secure_format,
    72,
)
SECURITY = Option(
    "security",
    "on|off",
    "let initiators use security protocols (TCG), which can lock or erase the whole disk "
    "(default off)",
    parse_switch,
    72,
)
FIRMWARE = Option(
    "firmware",
    "on|off",
    "let initiators write firmware, which can make the whole disk useless for good (default off)",
    parse_switch,
    73,
)
HISTORY = Option(
    "history",
    "on|off",
    "let initiators read the error history (telemetry), which may hold what others have written "
    "(default off)",
    parse_switch,
    74,
)
ENCLOSURE = Option(
    "enclosure",
    "on|off",
    "let initiators see and control the enclosure that the disk is in (SES), which has others as "
    "well (default off)",
    parse_switch,
    74,
)


def _reservations(text: str) -> bool:
    if text not in ("daemon", "disk"):
        raise ValueError("is not daemon or disk")
    return text == "disk"


RESERVATIONS = Option(
    "reservations",
    "daemon|disk",
    "who keeps persistent reservations: the daemon for its initiators, or the disk as well, for "
    "hosts that share it; then all registrants of a daemon have one key (default daemon)",
    _reservations,
    75,
)

HOST_MEMORY_BYTES = 64 << 20  # as much as most disks without memory of their own prefer


def _host_memory(text: str) -> int:
    return 0 if text == "off" else parse_size(text)


HOST_MEMORY = Option(
    "hmb",
    "BYTES|off",
    "how much of this machine's memory a disk with little of its own may borrow for itself "
    f"(host memory buffer; default {HOST_MEMORY_BYTES >> 20}M, without an IOMMU off)",
    _host_memory,
    76,
)

DEFAULT_BLOCK_BYTES = 512


def check_size(options: Mapping[str, Any]) -> None:
    """Check SIZE against BLOCK."""
    size, block = options.get(SIZE.name), options.get(BLOCK.name, DEFAULT_BLOCK_BYTES)
    if size is not None and size % block:
        raise ValueError(f"size: {size} is no multiple of {block}")


def check_metadata(options: Mapping[str, Any]) -> None:
    """Check PROTECTION against METADATA."""
    if options.get(PROTECTION.name) and not options.get(METADATA.name):
        raise ValueError(
            f"protection: type {options[PROTECTION.name]} needs metadata; add metadata=8"
        )
