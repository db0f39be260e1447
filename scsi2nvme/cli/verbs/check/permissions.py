"""What initiators may do with a disk beyond plain SCSI, and whether the disk can."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scsi2nvme.api import methods
from scsi2nvme.cli import control
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.spec import ControllerSpec, parse
from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.fields import Values
from scsi2nvme.nvme.namespace import SecureErase
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class _Permission:
    """An option of a SPEC, and the bits of Identify Controller without which it is idle."""

    option: str
    given: Callable[[ControllerSpec], bool]
    can: Callable[[Values], int]
    lacks: str


# Bits: NVMe Base 2.0c figure 275.
_PERMISSIONS = (
    _Permission(
        "sanitize=on",
        lambda spec: spec.may_be_sanitized,
        lambda disk: disk.sanicap & 0b111,
        "sanitize operations",
    ),
    _Permission(
        "security=on",
        lambda spec: spec.security,
        lambda disk: disk.oacs & 1,
        "Security Send and Receive",
    ),
    _Permission(
        "firmware=on",
        lambda spec: spec.firmware_allowed,
        lambda disk: disk.oacs & 1 << 2,
        "Firmware Image Download",
    ),
    _Permission(
        "enclosure=on",
        lambda spec: spec.enclosure_allowed,
        lambda disk: disk.oacs & 1 << 6 and disk.nvmsr & 1 << 1,
        "enclosure services (NVMe-MI)",
    ),
    _Permission(
        "history=on",
        lambda spec: spec.history_allowed,
        lambda disk: disk.lpa & 1 << 3,
        "telemetry logs",
    ),
    _Permission(
        "secure_format=crypto",
        lambda spec: spec.secure_format is SecureErase.CRYPTOGRAPHIC,
        lambda disk: disk.fna & 1 << 2,
        "formats that erase by the encryption key",
    ),
)


def permissions(situation: Situation) -> Iterator[Finding]:
    """Look, of what the daemon serves, what its SPECs permit that is off unless configured."""
    try:
        rows = control.ask(situation.state_dir, methods.SHOW)["Controllers"]
    except (OperationError, UsageError):
        return  # which has been told already
    for row in rows:
        given = [each for each in _PERMISSIONS if each.given(parse(row["DevicePath"]))]
        if row["State"] == "live" and given:
            yield from _of_disk(situation, row["DevicePath"], str(row["Number"]), given)


def _of_disk(
    situation: Situation, path: str, number: str, given: list[_Permission]
) -> Iterator[Finding]:
    which = methods.WhichStructure("id-ctrl", number)
    try:
        raw = control.ask(situation.state_dir, methods.READ, which)
    except (OperationError, UsageError) as error:
        yield Finding.told(Level.WARNING, f"{path}: {error}")
        return
    disk = IDENTIFY_CONTROLLER.parse(bytes.fromhex(raw))
    for each in given:
        if not each.can(disk):
            what = f"{path}: {each.option} permits nothing: the disk has no {each.lacks}"
            yield Finding(Level.WARNING, what)
    there = [each.option for each in given if each.can(disk)]
    if there:
        yield ok(f"{path}: initiators may use what {', '.join(there)} permits")
