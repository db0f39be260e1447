"""Controller SPECs: how people name an NVMe controller.

`TRANSPORT:[PATH][,OPTION=VALUE]…`. The options are rows; the parser, the error
messages and the help text come from them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from scsi2nvme.cli import faults
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.drivers.pci.sysfs import parse_address

MEMORY = "memory"  # the PATH of a disk that lives in memory
MAXIMUM_NAMESPACES = 256
MAXIMUM_SIZE_BYTES = 1 << 62
SERIAL_CHARACTERS = 20  # the SN field of Identify Controller

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


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


def _block(text: str) -> int:
    if text not in ("512", "4096"):
        raise ValueError("is not 512 or 4096")
    return int(text)


def _namespaces(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAXIMUM_NAMESPACES):
        raise ValueError(f"is not a number from 1 to {MAXIMUM_NAMESPACES}")
    return int(text)


def _serial(text: str) -> str:
    if not 1 <= len(text) <= SERIAL_CHARACTERS or not (text.isascii() and text.isprintable()):
        raise ValueError(f"is not 1 to {SERIAL_CHARACTERS} printable ASCII characters")
    return text


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("is not on or off")
    return text == "on"


def _option(
    parse: Callable[[str], object], values: str, doc: str, keyword: str = "", default: Any = None
) -> Any:
    """Return a dataclass field that is a row of the option table.

    `keyword`: what the drivers call it, if it is for them.
    """
    metadata = {"parse": parse, "values": values, "doc": doc, "keyword": keyword}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """A parsed SPEC. An option that was not given is None: the transport decides."""

    text: str  # as it was written, for messages
    transport: str
    path: str  # "" where the transport needs none
    size: int | None = _option(
        parse_size, "BYTES", "size of each namespace, with K, M, G or T (default 1G)", "size_bytes"
    )
    block: int | None = _option(
        _block, "512|4096", "logical block length (default 512)", "block_bytes"
    )
    namespaces: int | None = _option(
        _namespaces,
        "N",
        f"how many namespaces, 1 to {MAXIMUM_NAMESPACES} (default 1)",
        "namespaces",
    )
    serial: str | None = _option(_serial, "TEXT", "the controller's serial number", "serial")
    cache: bool | None = _option(
        _switch, "on|off", "whether there is a volatile write cache", "write_cache"
    )
    thin: bool | None = _option(
        _switch, "on|off", "emulated only: whether blocks can be deallocated (default on)", "thin"
    )
    readonly: bool = _option(_switch, "on|off", "refuse every write (default off)", default=False)
    fault: tuple[dict[str, int], ...] = _option(
        faults.parse_fault, faults.USAGE, faults.DOC, "faults", ()
    )

    noiommu: bool | None = _option(
        _switch,
        "on|off",
        "pci only: work without an IOMMU, at the mercy of the device (default off)",
        "noiommu",
    )

    def given(self) -> dict[str, Any]:
        """Return the options that were given and are for the drivers, by their names there."""
        return {
            row.metadata["keyword"]: value
            for name, row in OPTIONS.items()
            if row.metadata["keyword"] and (value := getattr(self, name)) not in (None, ())
        }


OPTIONS = {row.name: row for row in fields(ControllerSpec) if row.metadata}
REPEATABLE = ("fault",)
TRANSPORTS = {
    "emulated": "a controller of our own; PATH is its disk image, made if missing, or `memory`",
    "pci": "a real disk, bound to vfio-pci; PATH is its PCI address, such as 0000:01:00.0",
    "qemu": "QEMU's NVMe controller in a process of its own; PATH as above, or empty: no data kept",
}


def parse(text: str) -> ControllerSpec:
    """Parse a SPEC; UsageError names the field, the value and the limit."""
    transport, colon, rest = text.partition(":")
    if not colon or transport not in TRANSPORTS:
        known = " or ".join(f"{name}:" for name in TRANSPORTS)
        raise UsageError(f"controller {text!r}: transport {transport!r} is unknown; use {known}")
    path, *pairs = rest.split(",")
    if "=" in path and path.partition("=")[0] in OPTIONS:
        path, pairs = "", [path, *pairs]
    if not path and transport == "emulated":
        raise UsageError(f"controller {text!r}: PATH is missing; use emulated:PATH or :{MEMORY}")
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in OPTIONS or not equals:
            known = ", ".join(OPTIONS)
            raise UsageError(f"controller {text!r}: option {pair!r} is unknown; known: {known}")
        if name in values and name not in REPEATABLE:
            raise UsageError(f"controller {text!r}: {name} is given twice")
        try:
            parsed = OPTIONS[name].metadata["parse"](value)
        except ValueError as error:
            raise UsageError(f"controller {text!r}: {name}: {value!r} {error}") from None
        values[name] = (*values.get(name, ()), parsed) if name in REPEATABLE else parsed
    return _checked(ControllerSpec(text, transport, path, **values))


def _checked(spec: ControllerSpec) -> ControllerSpec:
    """Check what involves several options."""
    if spec.fault and spec.transport != "emulated":
        raise UsageError(f"controller {spec.text!r}: fault: only emulated controllers have faults")
    if spec.thin is not None and spec.transport != "emulated":
        raise UsageError(f"controller {spec.text!r}: thin: only emulated controllers have a choice")
    if spec.transport == "pci":
        _check_pci(spec)
    elif spec.noiommu is not None:
        raise UsageError(f"controller {spec.text!r}: noiommu: only pci controllers have an IOMMU")
    block = spec.block or 512
    if spec.size is not None and spec.size % block:
        raise UsageError(f"controller {spec.text!r}: size: {spec.size} is no multiple of {block}")
    return spec


def _check_pci(spec: ControllerSpec) -> None:
    """Check that a real disk is named, and not told what it is."""

    try:
        parse_address(spec.path)
    except ValueError as error:
        raise UsageError(f"controller {spec.text!r}: PATH: {spec.path!r} {error}") from None
    made_up = [name for name, row in OPTIONS.items() if row.metadata["keyword"] in spec.given()]
    if wrong := [name for name in made_up if name != "noiommu"]:
        raise UsageError(f"controller {spec.text!r}: {wrong[0]}: a pci controller has its own")


def describe() -> str:
    """Return the help text of SPECs."""
    lines = ["controller SPECs:", "  TRANSPORT:[PATH][,OPTION=VALUE]..."]
    lines += [f"  {name + ':':<12}{doc}" for name, doc in TRANSPORTS.items()]
    lines += ["  options:"]
    for name, row in OPTIONS.items():
        usage = f"    {name}={row.metadata['values']}"
        indent = " " * 26
        lines += textwrap.wrap(f"{usage:<25} {row.metadata['doc']}", 98, subsequent_indent=indent)
    return "\n".join(lines)
