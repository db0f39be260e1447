"""Controller SPECs: how people name an NVMe controller.

`TRANSPORT:[PATH][,OPTION=VALUE]…`. Transports and their options are records of the
drivers; the parser, the error messages, the help text and the names come from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.drivers.scheme import (
    ENCLOSURE,
    FIRMWARE,
    HISTORY,
    HOST_MEMORY,
    HOST_MEMORY_BYTES,
    PHYSICAL,
    READONLY,
    REMOVABLE,
    RESERVATIONS,
    SANITIZE,
    SECURE_FORMAT,
    SECURITY,
    Scheme,
)
from scsi2nvme.drivers.transports import SCHEMES, every_option
from scsi2nvme.records import dataclass
from scsi2nvme.typed import reason, told

if TYPE_CHECKING:
    from scsi2nvme.nvme.namespace import SecureErase


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """A parsed SPEC. `options` has those that were given: of others the transport decides."""

    text: str  # as it was written, for messages
    scheme: Scheme
    path: str  # "" where the transport needs none
    options: Mapping[str, Any]

    @property
    def readonly(self) -> bool:
        """Whether every write shall be refused."""
        return bool(self.options.get(READONLY.name, False))

    @property
    def removable(self) -> bool:
        """Whether initiators are told that the medium is removable."""
        return bool(self.options.get(REMOVABLE.name, False))

    @property
    def security(self) -> bool:
        """Whether initiators may use security protocols."""
        return bool(self.options.get(SECURITY.name, False))

    @property
    def enclosure_allowed(self) -> bool:
        """Whether initiators may see and control the enclosure."""
        return bool(self.options.get(ENCLOSURE.name, False))

    @property
    def secure_format(self) -> SecureErase:
        """What FORMAT UNIT shall erase."""
        from scsi2nvme.nvme.namespace import SecureErase

        return SecureErase(self.options.get(SECURE_FORMAT.name, SecureErase.NONE))

    @property
    def may_be_sanitized(self) -> bool:
        """Whether initiators may erase all namespaces by SANITIZE."""
        return bool(self.options.get(SANITIZE.name, False))

    @property
    def history_allowed(self) -> bool:
        """Whether initiators may read the error history."""
        return bool(self.options.get(HISTORY.name, False))

    @property
    def firmware_allowed(self) -> bool:
        """Whether initiators may download firmware."""
        return bool(self.options.get(FIRMWARE.name, False))

    @property
    def reservations_on_disk(self) -> bool:
        """Whether the disk keeps persistent reservations as well."""
        return bool(self.options.get(RESERVATIONS.name, False))

    @property
    def physical_block_bytes(self) -> int | None:
        """The largest physical block that shall be told, None: the usual one."""
        return self.options.get(PHYSICAL.name)

    @property
    def host_memory_bytes(self) -> int:
        """How much memory may be lent to the controller, at most.

        It writes there whenever it likes. Where no IOMMU has an end to that, a daemon that is
        killed leaves it writing for a while into what is others' memory by then.
        """
        usual = 0 if self.options.get("noiommu") else HOST_MEMORY_BYTES
        return int(self.options.get(HOST_MEMORY.name, usual))

    @property
    def place(self) -> str:
        """Where the disk is, by transport, however the SPEC says it; "": it ends with us."""
        place = self.scheme.place(self.path)
        return place and f"{self.scheme.name}:{place}"

    @property
    def pci_address(self) -> str:
        """The PCI address of the machine's own disk that is meant, "" if it is none."""
        return self.scheme.pci_address(self.path)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the controller wants of root's powers, by the names of capabilities(7)."""
        return self.scheme.capabilities(self.options)

    def given(self) -> dict[str, Any]:
        """Return the options that were given and are for the drivers, by their names there."""
        if not self.options:
            return {}
        return {
            option.keyword: self.options[option.name]
            for option in self.scheme.options()
            if option.keyword and option.name in self.options
        }

    def names(self, number: int, disk: str = "") -> tuple[str, ...]:
        """Return what the daemon's controller of this number is called, the lasting name first.

        `disk` is what the disk is called, if that is known. Spelled as configuration strings
        have it.
        """
        names = (self.scheme.lasting_name(self.path), disk, str(number))
        return tuple(spelled(name) for name in names if name)


def spelled(name: str) -> str:
    """Return a controller's name as configuration strings have it: colons part those."""
    return name.lower().replace(":", "_")


def parse(text: str) -> ControllerSpec:
    """Parse a SPEC; UsageError names the field, the value and the limit."""
    transport, colon, rest = text.partition(":")
    if not colon or transport not in SCHEMES:
        raise UsageError(f"controller {text!r}: {_no_transport(text)}")
    try:
        told(rest, f"controller {text!r}")
    except ValueError as error:
        raise UsageError(str(error)) from None
    scheme = SCHEMES[transport]
    path, *pairs = rest.split(",")
    if "=" in path and path.partition("=")[0] in every_option():
        path, pairs = "", [path, *pairs]
    try:
        options = _options(scheme, pairs) if pairs else {}
        scheme.check(path, options)
    except ValueError as error:
        raise UsageError(f"controller {text!r}: {reason(error)}") from None
    return ControllerSpec(text, scheme, path, options)


_DEVICE = r"(?:/dev/)?nvme\d+(?:n\d+)?(?:p\d+)?(?:,.*)?"
_ADDRESS = r"(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7](?:,.*)?"


def _no_transport(text: str) -> str:
    """Return what to write instead of something that begins with no transport."""
    transport, colon, _ = text.partition(":")
    if re.fullmatch(_DEVICE, text):
        return "a disk is named by its PCI address, as `scsi2nvme list` shows it: pci:ADDRESS"
    if re.fullmatch(_ADDRESS, text):
        return f"write pci:{text}"
    if text in SCHEMES:
        return f"write {text}:PATH" + " or emulated:memory" * (text == "emulated")
    if text and not colon:
        return f"a file is served as a disk: write emulated:{text}"
    known = " or ".join(f"{name}:" for name in SCHEMES)
    return f"transport {transport!r} is unknown; use {known}"


def _options(scheme: Scheme, pairs: list[str]) -> dict[str, Any]:
    """Parse options; ValueError names the one that is wrong."""
    offered = {option.name: option for option in scheme.options()}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in offered:
            raise ValueError(_why_not(scheme, pair))
        option = offered[name]
        if name in values and not option.repeatable:
            raise ValueError(f"{name} is given twice")
        try:
            parsed = option.parse(value)
        except ValueError as error:
            raise ValueError(f"{name}: {value!r} {error}") from None
        values[name] = (*values.get(name, ()), parsed) if option.repeatable else parsed
    return values


def _why_not(scheme: Scheme, pair: str) -> str:
    """Return why something is no option of a transport."""
    known = every_option()
    name, equals, _ = pair.partition("=")
    if name not in known or not equals:
        return f"option {pair!r} is unknown; known: {', '.join(known)}"
    option = known[name]
    offering = [other.name for other in SCHEMES.values() if option in other.options()]
    if len(offering) == 1:
        return f"{name}: only {offering[0]} controllers have {option.subject}"
    return f"{name}: a {scheme.name} controller has its own"


def describe() -> str:
    """Return the help text of SPECs."""
    import textwrap

    lines = ["controller SPECs:", "  TRANSPORT:[PATH][,OPTION=VALUE]..."]
    for scheme in SCHEMES.values():
        usage = f"  {scheme.name + ':':<12}{scheme.doc}"
        lines += textwrap.wrap(usage, 98, subsequent_indent=" " * 14)
    lines += ["  options:"]
    for option in every_option().values():
        usage = f"    {option.name}={option.values}"
        indent = " " * 26
        lines += textwrap.wrap(f"{usage:<25} {option.doc}", 98, subsequent_indent=indent)
    return "\n".join(lines)
