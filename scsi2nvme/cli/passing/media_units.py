"""Media units, and what may be made of them. Spec: NVMe Base 2.0c 5.16.1.16, 5.16.1.17, 8.3.

JSON has the keys of nvme-cli 2.3.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages
from scsi2nvme.cli.passing.row import OUTPUT_FORMAT, RAW_BINARY, Option, Row, number
from scsi2nvme.fields import Structure, Values
from scsi2nvme.nvme.sets import (
    CAPACITY_CONFIGURATION,
    CAPACITY_CONFIGURATIONS,
    CAPACITY_CONFIGURATIONS_LOG,
    CHANNEL_CONFIGURATION,
    CHANNEL_IDENTIFIER_BYTES,
    ENDURANCE_GROUP_CONFIGURATION,
    IDENTIFIER,
    MEDIA_UNIT,
    MEDIA_UNIT_CONFIGURATION,
    MEDIA_UNITS,
    MEDIA_UNITS_LOG,
)

_FIRST_BYTES, _MOST_BYTES = 4096, 1 << 20
T = TypeVar("T")


class _ShortError(Exception):
    """More of a log is wanted than was read."""


class _Walk:
    """Goes through a log whose entries follow each other, and have others in them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def take(self, layout: Structure) -> Values:
        """Return the next structure; _ShortError where it was not read."""
        return layout.parse(self.pass_by(layout.size))

    def pass_by(self, length: int) -> bytes:
        """Return the next bytes; _ShortError where they were not read."""
        begin, self.at = self.at, self.at + length
        if self.at > len(self._raw):
            raise _ShortError
        return self._raw[begin : self.at]

    def numbers(self, count: int) -> list[int]:
        """Return identifiers."""
        return [self.take(IDENTIFIER).value for _ in range(count)]


def _log(
    lid: int, walk: Callable[[_Walk], T], given: argparse.Namespace
) -> Conversation[tuple[T, bytes]]:
    """Read as much of a log as its entries say that there is of it: its head does not."""
    more, length = {"cdw11": given.domain_id << 16}, _FIRST_BYTES
    while length <= _MOST_BYTES:
        raw = yield from log_pages(lid, length, nsid=0, more=more)
        walked = _Walk(raw)
        try:
            return walk(walked), raw[: walked.at]
        except _ShortError:
            length *= 2
    raise OperationError(f"{given.subcommand}: at most {_MOST_BYTES} bytes are read")


def _plain(values: Values) -> dict[str, Any]:
    return dict(values.items())


def _units(walk: _Walk) -> dict[str, Any]:
    head = walk.take(MEDIA_UNITS)
    units = []
    for _ in range(head.nmu):
        unit = walk.take(MEDIA_UNIT)
        if unit.mucs:
            behind = unit.cio + unit.mucs * CHANNEL_IDENTIFIER_BYTES - MEDIA_UNIT.size
            walk.pass_by(max(behind, 0))
        units.append(_plain(unit))
    return {**head, "mus_list": units}


def _channel(walk: _Walk) -> dict[str, Any]:
    channel = walk.take(CHANNEL_CONFIGURATION)
    units = [walk.take(MEDIA_UNIT_CONFIGURATION) for _ in range(channel.chmus)]
    # nvme-cli has a media unit's identifier, and its descriptor's length, by a channel's names.
    media = [{"chanid": unit.muid, "chmus": unit.mudl} for unit in units]
    return {**channel, "Media Descriptor": media}


def _group(walk: _Walk) -> dict[str, Any]:
    group = walk.take(ENDURANCE_GROUP_CONFIGURATION)
    (egsets,) = walk.numbers(1)
    sets = [{"nvmsetid": each} for each in walk.numbers(egsets)]
    (egchans,) = walk.numbers(1)
    channels = [_channel(walk) for _ in range(egchans)]
    counted = {"egsets": egsets, "egchans": egchans}
    return {**group, **counted, "Channel Descriptor": channels, "NVM Set IDs": sets}


def _configurations(walk: _Walk) -> dict[str, Any]:
    found = []
    count = walk.take(CAPACITY_CONFIGURATIONS).sccn
    for _ in range(count):
        one = walk.take(CAPACITY_CONFIGURATION)
        groups = [_group(walk) for _ in range(one.egcn)]
        found.append({**one, "Endurance Descriptor": groups})
    return {"sccn": count, "Capacity Descriptor": found}


def _written(told: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in told.items():
        if not isinstance(value, list):
            lines.append(f"{indent}{name:<16}: {value}")
            continue
        for place, entry in enumerate(value):
            lines.append(f"{indent}{name}[{place}]:")
            lines += _written(entry, f"{indent}  ")
    return lines


def _shown(
    lid: int, walk: Callable[[_Walk], dict[str, Any]]
) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        told, raw = yield from _log(lid, walk, given)
        return Shown(tuple(_written(told)), told, raw)

    return converse


_OPTIONS = (
    Option("domain-id", "d", "domain (default: 0, that of the controller)", number(16)),
    OUTPUT_FORMAT,
    RAW_BINARY,
)

ROWS = (
    Row(
        "media-unit-stat-log",
        "show how worn media units are, and what they are of",
        "Show the Media Unit Status log.",
        _OPTIONS,
        _shown(MEDIA_UNITS_LOG, _units),
    ),
    Row(
        "supported-cap-config-log",
        "list what capacity-mgmt may select",
        "Show the Supported Capacity Configuration List.",
        _OPTIONS,
        _shown(CAPACITY_CONFIGURATIONS_LOG, _configurations),
    ),
)
