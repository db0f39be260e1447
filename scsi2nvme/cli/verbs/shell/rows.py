"""What nodes are made of: rows of `daemon.show`, and names that can be typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.cli.verbs.shell.kind import Kind, Place

Row = dict[str, Any]  # of `daemon.show`
Children = Mapping[str, tuple[Kind, Any]]


def shown(place: Place, table: str) -> list[Row]:
    """Return a table of `daemon.show`; empty where its front end does not run."""
    rows: list[Row] = place.view.of(methods.SHOW).get(table, [])
    return rows


def named(kind: Kind, rows: Iterable[tuple[str, Any]]) -> Children:
    """Return nodes of a kind by names that can be typed, numbered where several have one."""
    nodes: dict[str, tuple[Kind, Any]] = {}
    for wanted, about in rows:
        name = plain = re.sub("[^A-Za-z0-9:._-]+", "-", wanted).strip("-") or "unnamed"
        number = 1
        while name in nodes:
            number += 1
            name = f"{plain}_{number}"
        nodes[name] = (kind, about)
    return nodes


def count(number: int, what: str) -> str:
    """Return how many there are, in words."""
    return f"{number} {what}{'s' * (number != 1)}"
