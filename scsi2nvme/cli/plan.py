"""Configurations compared: what leads from one to another, step by step.

A configuration is a set of facts: for each controller, target, LUN, portal, initiator, secret and
setting one key, and what is said of it. So a step is one key with what is said before and after.
Everything here is pure; the daemon takes the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from scsi2nvme.api.configuration import (
    ConfigFile,
    ControllerTable,
    Credentials,
    InitiatorTable,
    LunTable,
    TargetTable,
)
from scsi2nvme.records import dataclass

Key = tuple[Hashable, ...]
"""What a fact is about: its subject, and which one of those."""

_LISTS = {"controllers", "targets", "portals", "initiators"}
_SECRETS = ("chap", "mutual_chap", "discovery_chap")
# What the daemon follows; any other setting counts from its start to its end.
_CHANGEABLE = {*_SECRETS, "log_level", "metrics"}


@dataclass(frozen=True, slots=True)
class Step:
    """One fact that changes. `before` None: it comes; `after` None: it goes."""

    key: Key
    before: Any
    after: Any

    @property
    def undone(self) -> Step:
        """The step back."""
        return Step(self.key, self.after, self.before)

    @property
    def subject(self) -> str:
        """What it is about: `controller`, `lun`, the name of a setting."""
        return str(self.key[0])

    @property
    def possible(self) -> bool:
        """Whether the daemon can take it while it serves."""
        return self.subject != "setting" or self.key[1] in _CHANGEABLE

    @property
    def line(self) -> str:
        """The step for people, in one line and without secrets."""
        sign = "+" if self.before is None else "-" if self.after is None else "~"
        return f"{sign} {_told(self.key, self.before if self.after is None else self.after)}"


def diff(before: ConfigFile, after: ConfigFile) -> list[Step]:
    """Return the steps from one configuration to another: none if both mean the same.

    Both are as `config.plain` returns them. What goes is told before what comes.
    """
    old, new = _facts(before), _facts(after)
    gone = [Step(key, old[key], None) for key in reversed(old) if key not in new]
    came = [
        Step(key, old.get(key), new[key]) for key in new if key not in old or old[key] != new[key]
    ]
    return gone + came


def applied(config: ConfigFile, steps: list[Step]) -> ConfigFile:
    """Return the configuration after the steps; what comes is last of its kind."""
    facts = _facts(config)
    for step in steps:
        if step.after is None:
            del facts[step.key]
        else:
            facts[step.key] = step.after
    return _config(facts)


def same(one: ConfigFile, other: ConfigFile) -> bool:
    """Whether two configurations mean the same: the order of their tables does not count."""
    return _facts(one) == _facts(other)


def without_secrets(config: ConfigFile) -> ConfigFile:
    """Return the configuration with every secret empty."""
    return _with_secrets(config, "", "")


def with_any_secrets(config: ConfigFile) -> ConfigFile:
    """Return a configuration that was told without secrets with some that make sense."""
    return _with_secrets(config, "one that is not told", "another one that is not told")


def _with_secrets(config: ConfigFile, theirs: str, ours: str) -> ConfigFile:
    initiators = [
        replace(row, chap=_with(row.chap, theirs), mutual_chap=_with(row.mutual_chap, ours))
        for row in config.initiators
    ]
    return replace(
        config,
        chap=_with(config.chap, theirs),
        mutual_chap=_with(config.mutual_chap, ours),
        discovery_chap=_with(config.discovery_chap, theirs),
        initiators=tuple(initiators),
    )


def _with(pair: Credentials | None, secret: str) -> Credentials | None:
    return None if pair is None else replace(pair, secret=secret)


def _facts(config: ConfigFile) -> dict[Key, Any]:
    facts: dict[Key, Any] = {}
    controllers = [(row.spec, row.iqn, row) for row in config.controllers]
    facts.update(_numbered("controller", controllers))
    for target in config.targets:
        facts["target", target.iqn] = replace(target, luns=())
        for lun in target.luns:
            facts["lun", target.iqn, lun.lun] = lun
    facts.update(_numbered("portal", [(text, None, text) for text in config.portals or ()]))
    for initiator in config.initiators:
        facts["initiator", initiator.name] = initiator
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name not in _LISTS and value is not None:
            facts["setting", each.name] = value
    return facts


def _numbered(
    subject: str, rows: Sequence[tuple[str, str | None, Any]]
) -> Iterator[tuple[Key, Any]]:
    """Yield rows with keys that differ, also where two rows are alike."""
    counts: Counter[Hashable] = Counter()
    for name, further, row in rows:
        yield (subject, name, further, counts[name, further]), row
        counts[name, further] += 1


def _config(facts: Mapping[Key, Any]) -> ConfigFile:
    def of(subject: str) -> list[Any]:
        return [value for key, value in facts.items() if key[0] == subject]

    targets = [
        replace(target, luns=tuple(v for k, v in facts.items() if k[:2] == ("lun", target.iqn)))
        for target in of("target")
    ]
    settings = {str(key[1]): value for key, value in facts.items() if key[0] == "setting"}
    return ConfigFile(
        controllers=tuple(of("controller")),
        targets=tuple(targets),
        portals=tuple(of("portal")),
        initiators=tuple(of("initiator")),
        **settings,
    )


def _told(key: Key, value: Any) -> str:
    match value:
        case ControllerTable(spec, iqn, alias, target):
            more = f" as {iqn}" * bool(iqn) + _alias(alias)
            return f"controller {spec}{more}" + ", no target" * (not target)
        case TargetTable(iqn, alias):
            return f"target {iqn}{_alias(alias)}"
        case LunTable(lun, controller, nsid):
            return f"lun {lun} of {key[1]}: namespace {nsid} of {controller}"
        case InitiatorTable(name):
            return f"initiator {name}: {_rights(value)}"
    if key[0] == "portal":
        return f"portal {value}"
    if key[1] in _SECRETS:
        return f"{key[1]} (name {value.name})"
    return f"{key[1]} = {value}"


def _alias(alias: str) -> str:
    return f", alias {alias!r}" if alias else ""


def _rights(row: InitiatorTable) -> str:
    """Return what an initiator may use, and whether it has secrets of its own."""
    luns = "all LUNs" if row.luns is None else "LUNs " + (_list(row.luns) or "none")
    targets = "all targets" if row.targets is None else _list(row.targets) or "no target"
    secrets = [name for name in _SECRETS[:2] if getattr(row, name) is not None]
    return ", ".join((f"{luns} of {targets}", *(f"{name} of its own" for name in secrets)))


def _list(values: Sequence[object]) -> str:
    return " ".join(map(str, values))
