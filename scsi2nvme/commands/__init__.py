"""The command table: every row, gathered from the modules of this package.

A new command is one row in the module of its family; nothing here changes
unless it is the first of a new family.
"""

from __future__ import annotations

from collections.abc import Iterable

from scsi2nvme.commands import (
    capacity,
    compare_and_write,
    diagnostics,
    format_unit,
    inquiry,
    log,
    maintenance,
    mode,
    power,
    provisioning,
    read_write,
    report_luns,
    request_sense,
    reserve,
    synchronize_cache,
    verify,
)
from scsi2nvme.fields import Field
from scsi2nvme.scsi.command import Command

_FAMILIES = (
    capacity,
    compare_and_write,
    diagnostics,
    format_unit,
    inquiry,
    log,
    maintenance,
    mode,
    power,
    provisioning,
    read_write,
    report_luns,
    request_sense,
    reserve,
    synchronize_cache,
    verify,
)


def _sorted(rows: Iterable[Command]) -> tuple[Command, ...]:
    return tuple(sorted(rows, key=lambda row: (row.opcode, row.service_action or 0)))


COMMANDS: tuple[Command, ...] = _sorted(row for family in _FAMILIES for row in family.COMMANDS)

_BY_OPCODE: dict[int, dict[int | None, Command]] = {}
for _row in COMMANDS:
    _actions = _BY_OPCODE.setdefault(_row.opcode, {})
    assert _row.service_action not in _actions, f"{_row.name} is declared twice"
    _actions[_row.service_action] = _row


def actions(opcode: int) -> dict[int | None, Command]:
    """Return the rows of one operation code by service action (None: it has none)."""
    return _BY_OPCODE.get(opcode, {})


def service_action_field(opcode: int) -> Field | None:
    """Return where an operation code's service action stands, None if it has none."""
    for row in actions(opcode).values():
        return row.service_action_field
    return None


def find(cdb: bytes) -> Command | None:
    """Return the row that a CDB selects, None if there is none."""
    if not cdb:
        return None
    rows = actions(cdb[0])
    place = service_action_field(cdb[0])
    if place is None:
        return rows.get(None)
    if place.end > len(cdb):
        return None
    return rows.get(place.read(cdb, "big"))
