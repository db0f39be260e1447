"""What a check finds, and how that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self

from scsi2nvme.records import dataclass


class Level(StrEnum):
    """How bad it is; WRONG: something cannot be served so."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in one line; `mend` is the command that mends it, "" where there is none."""

    level: Level
    what: str
    mend: str = ""

    @classmethod
    def told(cls, level: Level, message: object) -> Self:
        """Return what a message of the daemon's says, which may end in `; run: COMMAND`."""
        what, _, mend = str(message).partition("; run: ")
        return cls(level, what, mend)


def ok(what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, what)


@dataclass(frozen=True, slots=True)
class Row:
    """A finding, with the name of the check."""

    check: str
    finding: Finding


def shown(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the findings for programs."""
    return {
        "Checks": [
            {
                "Check": row.check,
                "Level": row.finding.level.value,
                "What": row.finding.what,
                "Mend": row.finding.mend,
            }
            for row in rows
        ],
        "Wrong": sum(row.finding.level is Level.WRONG for row in rows),
        "Warnings": sum(row.finding.level is Level.WARNING for row in rows),
    }


def table(rows: Sequence[Row]) -> str:
    """Return the findings for people: a line each, and how many there are."""
    width = max(len(row.check) for row in rows)
    lines = []
    for row in rows:
        what, mend = row.finding.what, row.finding.mend
        run = f"; run: {mend}" if mend else ""
        lines.append(f"{row.finding.level:<7}  {row.check:<{width}}  {what}{run}")
    wrong, warnings = shown(rows)["Wrong"], shown(rows)["Warnings"]
    return "\n".join([*lines, f"{wrong} wrong, {warnings} warning{'s' * (warnings != 1)}"])
