"""What the controller tells of itself although it is otherwise: odd values, for drivers to meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.nvme.registers import CAP
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE, SMART_LOG

_STRUCTURES = {
    "cap": CAP,
    "ctrl": IDENTIFY_CONTROLLER,
    "ns": IDENTIFY_NAMESPACE,
    "smart": SMART_LOG,
}


def parse_told(text: str) -> tuple[str, str, int]:
    """Return structure, field and value of `cap.mqes:1`; ValueError says what is wrong."""
    name, _, number = text.partition(":")
    where, _, field = name.partition(".")
    if where not in _STRUCTURES or field not in _STRUCTURES[where].by_name:
        raise ValueError(f"names no field of {', '.join(_STRUCTURES)}")
    try:
        value = int(number, 0)
    except ValueError:
        raise ValueError(f"has {number!r}, which is no number") from None
    if not 0 <= value <= _STRUCTURES[where].by_name[field].maximum:
        raise ValueError(f"has {number}, which does not fit the field")
    return where, field, value


TELL = Option(
    "tell",
    "FIELD:VALUE",
    "tell another number than is true (emulated only; may be repeated): FIELD is one of "
    "CAP, Identify Controller, Identify Namespace or the SMART log, such as cap.mqes, ctrl.mdts, "
    "ns.npwg, smart.critical_warning",
    parse_told,
    82,
    "told",
    subject="anything to pretend",
    repeatable=True,
)


def told(settings: Mapping[str, Any], where: str) -> dict[str, int]:
    """Return the fields of a structure that are told otherwise."""
    given = settings.get(TELL.keyword, ())
    return {field: value for structure, field, value in given if structure == where}


CAPABILITY = Capability("told", options=(TELL,), settings={TELL.keyword: ()})
