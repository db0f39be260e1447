"""Faults of the emulated controller, as people ask for them.

`COMMAND:ACTION[:LIMIT]…`, such as `read:status=2/81:lba=100-199:count=3`.
"""

from __future__ import annotations

import math
import re
from enum import IntEnum

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Misfortune, Part
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Opcode


def _by_name(table: type[IntEnum]) -> dict[str, int]:
    return {opcode.name.lower().replace("_", "-"): int(opcode) for opcode in table}


_ANY_OPCODE = 0xFF
_OPCODES = _by_name(Opcode)
_ADMIN_OPCODES = _by_name(AdminOpcode)
_ACTION_NUMBERS = {"status": 0, "hang": 1, "delay": 2}  # as the data plane numbers them
_SHAPES = {
    "status": r"([0-7])/([0-9A-Fa-f]{2})",
    "hang": r"",
    "delay": r"(\d{1,9})",
    "done": r"",
    "lba": r"(\d{1,19})-(\d{1,19})",
    "nsid": r"(\d{1,9})",
    "after": r"(\d{1,9})",
    "count": r"(\d{1,9})",
}
_ACTIONS = ({"status"}, {"hang"}, {"delay"}, {"status", "delay"})


def parse_fault(text: str) -> dict[str, int]:
    """Return the arguments of `Emulator.add_fault`, with `admin` for `AdminFaults`.

    ValueError says what is wrong.
    """
    command, *parts = text.split(":")
    admin = command in _ADMIN_OPCODES
    if command != "any" and command not in _OPCODES and not admin:
        raise ValueError(f"names no command: any, {', '.join([*_OPCODES, *_ADMIN_OPCODES])}")
    fault = {"opcode": (_ADMIN_OPCODES if admin else _OPCODES).get(command, _ANY_OPCODE)}
    actions: list[str] = []
    for part in parts:
        name, _, value = part.partition("=")
        match = re.fullmatch(_SHAPES[name], value) if name in _SHAPES else None
        if match is None:
            raise ValueError(f"has {part!r}, which is no action and no limit")
        if name in _ACTION_NUMBERS:
            actions.append(name)
        match name:
            case "status":
                fault["status"] = int(match[1]) << 8 | int(match[2], 16)
            case "hang":
                pass
            case "done":
                fault["done"] = True
            case "delay":
                fault["delay_ms"] = int(match[1])
            case "lba":
                fault |= {"lba_first": int(match[1]), "lba_last": int(match[2])}
            case _:
                fault[name] = int(match[1])
    if len(actions) != len(set(actions)) or set(actions) not in _ACTIONS:
        raise ValueError("needs one action: status=SCT/SC (with delay=MS or not), hang or delay=MS")
    if "done" in fault and "status" not in actions:
        raise ValueError("can have 'done' only where it fails: with status=SCT/SC")
    if admin and {"done", "lba_first"} & fault.keys():
        raise ValueError("can have neither 'done' nor 'lba': it is of an admin command")
    fault["action"] = min(_ACTION_NUMBERS[name] for name in actions)
    return fault | ({"admin": True} if admin else {})


FAULT = Option(
    "fault",
    "COMMAND:ACTION[:LIMIT]...",
    "misbehave (emulated only; may be repeated): COMMAND is read, write, flush, ... or any "
    "of these, or an admin command as identify; "
    "ACTION is status=SCT/SC in hex, hang, delay=MS, or status and delay; with status, done: "
    "it is carried out all the same; LIMIT is lba=FIRST-LAST, nsid=N, after=N or count=N",
    parse_fault,
    80,
    "faults",
    subject="faults",
    repeatable=True,
)


class AdminFaults(Part):
    """The faults of admin commands, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._faults: list[dict[str, int]] = []

    def add(self, fault: dict[str, int]) -> None:
        """Misbehave from now on, as `s2n_emu_fault` says."""
        self._faults.append(dict(fault))

    def misfortune(self, command: Values) -> Misfortune | None:
        """See Part."""
        for fault in self._faults:
            if command.opc != fault["opcode"] or fault.get("nsid", command.nsid) != command.nsid:
                continue
            if fault.get("after"):
                fault["after"] -= 1
                continue
            if "count" in fault:
                fault["count"] -= 1
                if not fault["count"]:
                    self._faults.remove(fault)
            hangs = fault["action"] == _ACTION_NUMBERS["hang"]
            delay_s = math.inf if hangs else fault.get("delay_ms", 0) / 1000
            return Misfortune(delay_s, fault.get("status"))
        return None


def _start(controller: Controller) -> AdminFaults:
    admin = AdminFaults()
    for fault in controller.settings[FAULT.keyword]:
        if fault.get("admin"):
            admin.add(fault)
        else:
            controller.model.emulator.add_fault(**fault)
    return admin


CAPABILITY = Capability("faults", options=(FAULT,), settings={FAULT.keyword: ()}, start=_start)
