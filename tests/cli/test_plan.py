"""Configurations compared: the steps from one to another, and what may be saved of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.api.configuration import (
    ConfigFile,
    ControllerTable,
    Credentials,
    InitiatorTable,
    LunTable,
    TargetTable,
)
from scsi2nvme.cli import plan, toml
from scsi2nvme.cli.config import load, plain, settings
from scsi2nvme.cli.plan import applied, diff, same, without_secrets

IQNS = [f"iqn.2026-11.test:{letter}" for letter in "abcd"]
SPECS = ["emulated:memory,size=1M", "emulated:memory,size=2M", 'emulated:/srv/a "disk".img']
SECRETS = ("chap", "mutual_chap", "discovery_chap")

names, specs = st.sampled_from(IQNS), st.sampled_from(SPECS)
pairs = st.none() | st.builds(
    Credentials, st.text("äb\"'\\", min_size=1), st.text("xy\\\"'", min_size=12, max_size=14)
)


def rows(kind: st.SearchStrategy[Any], key: Callable[[Any], Any]) -> st.SearchStrategy[Any]:
    return st.lists(kind, max_size=3, unique_by=key).map(tuple)


luns = st.builds(LunTable, st.integers(0, 3), specs, st.integers(1, 3))
targets = st.builds(TargetTable, names, luns=rows(luns, lambda row: row.lun))
initiators = st.builds(
    InitiatorTable,
    names,
    pairs,
    targets=st.none() | st.lists(names, max_size=2, unique=True).map(tuple),
    luns=st.none() | st.lists(st.integers(0, 9), max_size=2, unique=True).map(tuple),
)
configurations = st.builds(
    ConfigFile,
    controllers=st.lists(
        st.builds(ControllerTable, specs, st.none() | names, st.text("ab"), st.booleans()),
        max_size=4,
    ).map(tuple),
    targets=rows(targets, lambda row: row.iqn),
    portals=rows(st.sampled_from(["127.0.0.1:3260", "[::1]:3260", "127.0.0.1:0"]), str),
    base=st.none() | names,
    reactors=st.none() | st.integers(1, 2),
    chap=pairs,
    discovery_chap=pairs,
    initiators=rows(initiators, lambda row: row.name),
    log_level=st.sampled_from(["info", "warning"]),
)


@given(configurations, configurations)
def test_the_steps_lead_from_one_to_the_other_and_back(one: ConfigFile, other: ConfigFile) -> None:
    steps = diff(one, other)
    assert same(applied(one, steps), other)
    back = [step.undone for step in reversed(steps)]
    assert same(applied(other, back), one)
    assert bool(steps) != same(one, other)
    for step in steps:
        assert "\n" not in step.line
        assert step.line[:2] in ("+ ", "- ", "~ ")


@given(configurations)
def test_what_is_the_same_needs_no_step(one: ConfigFile) -> None:
    turned = {
        each.name: tuple(reversed(getattr(one, each.name)))
        for each in fields(one)
        if each.name in ("controllers", "targets", "portals", "initiators")
    }
    assert not diff(one, one)
    assert not [
        step
        for step in diff(one, ConfigFile(**{**_all(one), **turned}))
        if step.subject != "controller"
    ]


def _all(one: ConfigFile) -> dict[str, Any]:
    return {each.name: getattr(one, each.name) for each in fields(one)}


@given(configurations)
def test_a_step_tells_no_secret(one: ConfigFile) -> None:
    secret = "a secret like no name"
    marked: dict[str, Any] = {name: _of(getattr(one, name), secret) for name in SECRETS}
    rows = tuple(replace(row, chap=_of(row.chap, secret)) for row in one.initiators)
    one = replace(one, initiators=rows, **marked)
    shown = repr(without_secrets(one)) + "".join(s.line for s in diff(ConfigFile(), one))
    assert secret not in shown


def _of(pair: Credentials | None, secret: str) -> Credentials | None:
    return None if pair is None else replace(pair, secret=secret)


@hypothesis.settings(deadline=None)
@given(configurations)
def test_what_is_written_is_read_again(one: ConfigFile) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "written.toml"
        path.touch(0o600)
        path.write_text(toml.written(one), encoding="utf-8")
        assert load(path) == one


def test_what_is_plain_means_the_same() -> None:
    """Also where the name of a single target was given for all."""
    for rows, iqn in (
        ((ControllerTable(SPECS[0]),), IQNS[0]),
        ((ControllerTable(SPECS[0]), ControllerTable(SPECS[1], IQNS[1])), IQNS[0]),
        ((ControllerTable(SPECS[0]), ControllerTable(SPECS[1])), IQNS[0]),
        ((ControllerTable(SPECS[0]), ControllerTable(SPECS[0])), None),
    ):
        first = settings(
            ConfigFile(controllers=rows, iqn=iqn),
            default_state_dir=Path("/state"),
            maximum_reactors=4,
        )
        again = settings(plain(first), default_state_dir=Path("/other"), maximum_reactors=4)
        assert again == first
        assert plain(again) == plain(first)


def test_the_guide_names_what_wants_a_restart() -> None:
    """`iqn` is `base`, or a controller's, in what runs."""
    guide = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    (told,) = re.findall(r"nobody notices anything\.([^.]*?) want a restart", guide)
    named = {each.strip("[]") for each in re.findall(r"`([^`]+)`", told)}
    settings = {each.name for each in fields(ConfigFile)} - plan._LISTS - plan._CHANGEABLE
    assert named == settings - {"iqn"}
