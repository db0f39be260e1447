"""What the single changes make of the configuration: from one value to the next, pure.

UsageError where that makes no sense. What cannot be seen in the configuration alone, as whether
there is a target of a name, the caller has looked up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scsi2nvme.api.changing import (
    Allowance,
    Denial,
    NewSecret,
    WhichLun,
    WhichPortal,
    WhichTarget,
)
from scsi2nvme.api.configuration import (
    ConfigFile,
    InitiatorTable,
    LunTable,
    TargetTable,
)
from scsi2nvme.cli.config import iscsi_name, portal_address
from scsi2nvme.cli.errors import UsageError


def with_target(config: ConfigFile, target: TargetTable) -> ConfigFile:
    """Add a target."""
    return replace(config, targets=(*config.targets, target))


def without_target(config: ConfigFile, which: WhichTarget) -> ConfigFile:
    """Take a target away."""
    target = _target(config, which.target)
    return replace(config, targets=tuple(each for each in config.targets if each is not target))


def with_lun(config: ConfigFile, iqn: str, lun: LunTable) -> ConfigFile:
    """Map a LUN of a target."""
    target = _target(config, iqn)
    if lun.lun in [each.lun for each in target.luns]:
        raise UsageError(f"target {target.iqn}: there is a LUN {lun.lun}; unmap it first")
    return _replaced(config, target, (*target.luns, lun))


def without_lun(config: ConfigFile, which: WhichLun) -> ConfigFile:
    """Unmap a LUN of a target."""
    target = _target(config, which.target)
    left = tuple(each for each in target.luns if each.lun != which.lun)
    if len(left) == len(target.luns):
        raise UsageError(f"target {target.iqn}: there is no LUN {which.lun}")
    return _replaced(config, target, left)


def without_controller(config: ConfigFile, spec: str) -> ConfigFile:
    """Take the LUNs away that a controller has by its SPEC."""
    targets = [
        replace(each, luns=tuple(lun for lun in each.luns if lun.controller != spec))
        for each in config.targets
    ]
    return replace(config, targets=tuple(targets))


def with_portal(config: ConfigFile, which: WhichPortal) -> ConfigFile:
    """Add an address."""
    portal = str(portal_address(which.portal))
    if portal in (config.portals or ()):
        raise UsageError(f"portal {portal}: is there already")
    return replace(config, portals=(*(config.portals or ()), portal))


def without_portal(config: ConfigFile, which: WhichPortal) -> ConfigFile:
    """Take an address away."""
    portal = str(portal_address(which.portal))
    if portal not in (config.portals or ()):
        known = ", ".join(config.portals or ()) or "none"
        raise UsageError(f"portal {portal}: is not there; there are: {known}")
    return replace(config, portals=tuple(each for each in config.portals or () if each != portal))


def allowed(
    config: ConfigFile, new: Allowance, luns: Mapping[str, Collection[int]], *, complete: bool
) -> ConfigFile:
    """Let an initiator use a target, or all.

    `luns` are those that there are, by target; where they are `complete` it may see no others.
    """
    name = iscsi_name(new.initiator, "initiator")
    target = None if new.target is None else new.target.lower()
    row = next((each for each in config.initiators if each.name == name), None)
    if row is None:
        row = InitiatorTable(name, targets=None if target is None else (target,))
    elif target is None:
        row = replace(row, targets=None)
    elif row.targets is not None and target not in row.targets:
        row = replace(row, targets=(*row.targets, target))
    if new.luns is not None:
        row = replace(row, luns=new.luns)
    there = set(_luns_of(row, luns))
    for lun in row.luns or ():
        if complete and lun not in there:
            known = ", ".join(map(str, sorted(there))) or "none"
            raise UsageError(f"initiator {name}: luns: there is no LUN {lun}; there are: {known}")
    return _with_initiator(config, row)


def denied(config: ConfigFile, which: Denial, targets: Sequence[str]) -> ConfigFile:
    """Keep an initiator from a target of those that there are, or from all.

    Its row stays, as the last one to go would let everybody in.
    """
    name = iscsi_name(which.initiator, "initiator")
    if not config.initiators:
        raise UsageError(f"initiator {name}: everybody may log in; allow those first who shall")
    row = next((each for each in config.initiators if each.name == name), None)
    if row is None:
        raise UsageError(f"initiator {name}: may not log in anyhow")
    left = () if which.target is None else (targets if row.targets is None else row.targets)
    wanted = tuple(each for each in left if each != (which.target or "").lower())
    return _with_initiator(config, replace(row, targets=wanted))


def without_gone(
    before: tuple[ConfigFile, Mapping[str, Collection[int]]],
    after: tuple[ConfigFile, Mapping[str, Collection[int]]],
) -> ConfigFile:
    """Return what is configured after a change without what initiators may use no more.

    Else the daemon would not start with it. Both are given with the LUNs that there are, by target.
    An initiator keeps its row, as the last one to go would let everybody in.
    """
    rows = {row.name: row for row in before[0].initiators}
    kept = []
    for row in after[0].initiators:
        if row.targets is not None:
            gone = before[1].keys() - after[1].keys()
            row = replace(row, targets=tuple(name for name in row.targets if name not in gone))
        if row.luns is not None and row.targets != () and row.name in rows:
            luns = {*_luns_of(rows[row.name], before[1])} - {*_luns_of(row, after[1])}
            row = replace(row, luns=tuple(lun for lun in row.luns if lun not in luns))
        kept.append(row)
    return replace(after[0], initiators=tuple(kept))


def with_secret(config: ConfigFile, new: NewSecret) -> ConfigFile:
    """Set a secret, for all or for an initiator."""
    changed: dict[str, Any] = {new.which: new.credentials}
    if new.initiator is None:
        return replace(config, **changed)
    name = iscsi_name(new.initiator, "initiator")
    if new.which == "discovery_chap":
        raise UsageError("discovery_chap: is for all initiators")
    row = next((each for each in config.initiators if each.name == name), None)
    if row is None:
        raise UsageError(f"initiator {name}: has no table of its own; allow it first")
    return _with_initiator(config, replace(row, **changed))


def _luns_of(row: InitiatorTable, luns: Mapping[str, Collection[int]]) -> Iterator[int]:
    """Yield the LUNs of all targets that an initiator may use."""
    for name in luns if row.targets is None else row.targets:
        yield from luns.get(name, ())


def _target(config: ConfigFile, iqn: str) -> TargetTable:
    for target in config.targets:
        if target.iqn == iqn.lower():
            return target
    known = ", ".join(target.iqn for target in config.targets) or "none"
    raise UsageError(f"there is no target {iqn!r} whose LUNs are chosen; there are: {known}")


def _replaced(config: ConfigFile, target: TargetTable, luns: tuple[LunTable, ...]) -> ConfigFile:
    changed = replace(target, luns=luns)
    targets = tuple(changed if each is target else each for each in config.targets)
    return replace(config, targets=targets)


def _with_initiator(config: ConfigFile, row: InitiatorTable) -> ConfigFile:
    rows = [row if each.name == row.name else each for each in config.initiators]
    return replace(config, initiators=tuple(rows if row in rows else [*rows, row]))
