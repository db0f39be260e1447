"""A controller's properties, one by one. Spec: NVMe Base 2.0c 3.1.3."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Properties, Shown, SubsystemReset
from scsi2nvme.cli.passing.row import FORCE, HUMAN_READABLE, Option, Row, always, number
from scsi2nvme.cli.passing.shown import fields_of
from scsi2nvme.nvme.registers import LAYOUTS, NSSR_RESET, Register, decode

_OFFSET = Option(
    "offset",
    "o",
    "which, by its offset, such as 0x0 CAP, 0x8 VS, 0x14 CC, 0x1c CSTS",
    number(),
    None,
    required=True,
)


def _get(given: argparse.Namespace) -> Conversation[Shown]:
    found: dict[int, int] = yield Properties()
    if given.offset not in found:
        known = ", ".join(f"{offset:#x}" for offset in sorted(found))
        raise UsageError(f"get-property: --offset {given.offset:#x} is unknown; known: {known}")
    register, value = Register(given.offset), found[given.offset]
    layout = LAYOUTS.get(register)
    name = register.name if layout is None else layout.name
    lines: tuple[str, ...] = (f"property: {given.offset:#04x} ({name}), value: {value:x}",)
    if given.human_readable and layout is not None:
        lines += fields_of(decode(layout, value))
    return Shown(lines, {register.name.lower(): value})


def _set(given: argparse.Namespace) -> Conversation[Shown]:
    if (given.offset, given.value) != (Register.NSSR, NSSR_RESET):
        raise OperationError(
            "set-property: the driver alone sets properties, but NSSR (0x20) to "
            f"{NSSR_RESET:#x}; see: reset, subsystem-reset"
        )
    yield SubsystemReset()
    return Shown(("set-property: 20 (NVM Subsystem Reset), value: 4e564d65",))


ROWS = (
    Row(
        "get-property",
        "show one of a controller's properties (registers)",
        "Show one of the properties that show-regs shows.",
        (_OFFSET, HUMAN_READABLE),
        _get,
    ),
    Row(
        "set-property",
        "set NSSR, which resets an NVM subsystem",
        "Set a property. But for NSSR, which resets the NVM subsystem (see: subsystem-reset), they "
        "are the driver's alone.",
        (_OFFSET, Option("value", "v", "what it becomes", number(64), None, required=True), FORCE),
        _set,
        always,
    ),
)
