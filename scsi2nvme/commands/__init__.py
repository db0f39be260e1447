"""The command table: every row of this package's modules.

A new command is one row in its family's `COMMANDS`; a new family is a new
module. Nothing else changes.
"""

from __future__ import annotations

from scsi2nvme.command import Command
from scsi2nvme.fields import Field
from scsi2nvme.tables import rows

COMMANDS: tuple[Command, ...] = tuple(
    sorted(
        rows(__name__, "COMMANDS", Command),
        key=lambda row: (row.opcode, row.service_action or 0),
    )
)

_BY_OPCODE: dict[int, dict[int | None, Command]] = {}
for _row in COMMANDS:
    _actions = _BY_OPCODE.setdefault(_row.opcode, {})
    assert _row.service_action not in _actions, f"{_row.name} is declared twice"
    _actions[_row.service_action] = _row

_SELECTORS = {
    opcode: next(iter(rows.values())).service_action_field for opcode, rows in _BY_OPCODE.items()
}


def actions(opcode: int) -> dict[int | None, Command]:
    """Return the rows of one operation code by service action (None: it has none)."""
    return _BY_OPCODE.get(opcode, {})


def service_action_field(opcode: int) -> Field | None:
    """Return where an operation code's service action stands, None if it has none."""
    return _SELECTORS.get(opcode)


def find(cdb: bytes) -> Command | None:
    """Return the row that a CDB selects, None if there is none."""
    if not cdb:
        return None
    rows = actions(cdb[0])
    selector = service_action_field(cdb[0])
    if selector is None:
        return rows.get(None)
    if selector.end > len(cdb):
        return None
    return rows.get(selector.read(cdb, "big"))
