"""`bind` and `unbind`: a disk from the kernel to vfio-pci, and back."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from scsi2nvme.cli.verb import EXIT_STATUS, Verb

_BIND = """\
Take an NVMe disk from the kernel and bind it to vfio-pci, for `--controller pci:ADDRESS`.

Refused while anybody uses the disk: a mount in any mount namespace, swap, LVM, RAID, bcache,
a process. Refused as well if it holds anything that is recognised (partitions, file systems,
volumes), unless --force --serial SERIAL says that this very disk is meant."""

_UNBIND = """\
Give a disk back to the kernel's nvme driver, now and at boot. Refused while a daemon uses it."""


def _unbind_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="PCI address, such as 0000:01:00.0")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, say what would be done, stop"
    )


def _bind_arguments(parser: argparse.ArgumentParser) -> None:
    _unbind_arguments(parser)
    parser.add_argument(
        "--serial", metavar="SERIAL", default="", help="go on only if the disk's serial is this"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="take a disk that holds data; needs --serial. One in use is never taken",
    )
    parser.add_argument("--persist", action="store_true", help="do it at every boot as well")


def _bind(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.bind import binding
    from scsi2nvme.drivers.pci.sysfs import System

    binding.bind(
        arguments.address,
        serial=arguments.serial,
        force=arguments.force,
        persist=arguments.persist,
        dry_run=arguments.dry_run,
        system=System(),
        report=_reporter(dry_run=arguments.dry_run),
    )
    return 0


def _reporter(*, dry_run: bool) -> Callable[[str], None]:
    """Return what tells of a step: that it is done, or that it would be."""
    return (lambda step: print(f"would do: {step}")) if dry_run else print


def _unbind(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.bind import binding
    from scsi2nvme.drivers.pci.sysfs import System

    binding.unbind(
        arguments.address,
        dry_run=arguments.dry_run,
        system=System(),
        report=_reporter(dry_run=arguments.dry_run),
    )
    return 0


VERBS = (
    Verb(
        "bind",
        "take a disk from the kernel, for us",
        _BIND,
        (EXIT_STATUS,),
        _bind_arguments,
        _bind,
        rank=30,
    ),
    Verb(
        "unbind",
        "give a disk back to the kernel",
        _UNBIND,
        (EXIT_STATUS,),
        _unbind_arguments,
        _unbind,
        rank=31,
    ),
)
