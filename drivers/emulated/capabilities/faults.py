"""Faults of the emulated controller, as people ask for them.

`COMMAND:ACTION[:LIMIT]…`, such as `read:status=2/81:lba=100-199:count=3`.
"""

from __future__ import annotations

import re

from scsi2nvme.drivers.emulated.capability import Capability, Controller
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.nvme.command import Opcode

_ANY_OPCODE = 0xFF
_OPCODES = {opcode.name.lower().replace("_", "-"): int(opcode) for opcode in Opcode}
_ACTION_NUMBERS = {"status": 0, "hang": 1, "delay": 2}  # as the data plane numbers them
_SHAPES = {
    "status": re.compile(r"([0-7])/([0-9A-Fa-f]{2})"),
    "hang": re.compile(r""),
    "delay": re.compile(r"(\d{1,9})"),
    "done": re.compile(r""),
    "lba": re.compile(r"(\d{1,19})-(\d{1,19})"),
    "nsid": re.compile(r"(\d{1,9})"),
    "after": re.compile(r"(\d{1,9})"),
    "count": re.compile(r"(\d{1,9})"),
}
_ACTIONS = ({"status"}, {"hang"}, {"delay"}, {"status", "delay"})


def parse_fault(text: str) -> dict[str, int]:
    """Return the arguments of `Emulator.add_fault`; ValueError says what is wrong."""
    command, *parts = text.split(":")
    if command != "any" and command not in _OPCODES:
        raise ValueError(f"names no command: any, {', '.join(_OPCODES)}")
    fault = {"opcode": _OPCODES.get(command, _ANY_OPCODE)}
    actions: list[str] = []
    for part in parts:
        name, _, value = part.partition("=")
        match = _SHAPES[name].fullmatch(value) if name in _SHAPES else None
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
    return fault | {"action": min(_ACTION_NUMBERS[name] for name in actions)}


FAULT = Option(
    "fault",
    "COMMAND:ACTION[:LIMIT]...",
    "misbehave (emulated only; may be repeated): COMMAND is read, write, flush, ... or any; "
    "ACTION is status=SCT/SC in hex, hang, delay=MS, or status and delay; with status, done: "
    "it is carried out all the same; LIMIT is lba=FIRST-LAST, nsid=N, after=N or count=N",
    parse_fault,
    80,
    "faults",
    subject="faults",
    repeatable=True,
)


def _start(controller: Controller) -> None:
    for fault in controller.settings[FAULT.keyword]:
        controller.model.emulator.add_fault(**fault)


CAPABILITY = Capability("faults", options=(FAULT,), settings={FAULT.keyword: ()}, start=_start)
