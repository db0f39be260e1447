"""`locate`: the light of the slot that a disk is in."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from scsi2nvme.cli.verb import EXIT_STATUS, Verb

if TYPE_CHECKING:
    from scsi2nvme.drivers.pci.sysfs import System

_LOCATE = """\
Have the light of a disk's slot blink, or of its enclosure be lit, so that people find it; `off`
ends that. The disk may be the kernel's or bound to vfio-pci, and served meanwhile: it is named as
`list` has it."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address", metavar="ADDRESS", help="PCI address, such as 0000:01:00.0, or a SPEC with one"
    )
    parser.add_argument(
        "state", nargs="?", choices=("on", "off"), default="on", help="(default on)"
    )


def locate(address: str, *, lit: bool, system: System) -> None:
    """Light a disk's light, or have it go out; OperationError if it has none, or UsageError."""
    from scsi2nvme.cli.errors import OperationError, UsageError
    from scsi2nvme.drivers.host import slot_light
    from scsi2nvme.drivers.pci.sysfs import find_function, parse_address
    from scsi2nvme.drivers.transport import TransportError

    try:
        place = address.removeprefix("pci:").partition(",")[0]  # without a SPEC's options
        function = find_function(parse_address(place), system)
    except ValueError as error:
        raise UsageError(f"{address!r} {error}; see: scsi2nvme list") from None
    except TransportError as error:
        raise OperationError(str(error)) from error
    light = slot_light.find(function)
    if light is None:
        raise OperationError(
            f"the kernel knows of no light of {function.address}: neither of a slot "
            f"({system.pci}/slots/*/attention) nor of an enclosure (NPEM)"
        )
    try:
        light.set(lit)
    except OSError as error:
        raise OperationError(f"{light.path}: {error.strerror}") from error


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.drivers.pci.sysfs import System

    locate(arguments.address, lit=arguments.state == "on", system=System())
    return 0


VERBS = (
    Verb(
        "locate",
        "have the light of a disk's slot blink",
        _LOCATE,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=32,
    ),
)
