"""The record of who bears which name: who goes first of disks that cannot be told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon import bearers
from scsi2nvme.cli.daemon.bearers import Bearers, Shown, places
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import parse
from scsi2nvme.service.names import Identity, Verdict

OWN, MODEL, NONE = Verdict.OWN, Verdict.MODEL, Verdict.NONE


def disk(serial: str = "S", nguid: str = "1", *, nsid: int = 1, port: int = 0) -> Identity:
    """Return what a namespace tells; `port`: by which of its disk's controllers, if it has many."""
    subsystem = f"subsystem {serial}" if port else ""
    return Identity(nsid, (f"NGUID {nguid}",), f"{serial} {nsid}", subsystem, port)


X, Y = disk(), disk("Y", "2")


class Start:
    """A start of a daemon for disks at these places, by letters."""

    def __init__(self, directory: Path, configured: str) -> None:
        self.configured = configured
        targets = [TargetSettings(parse(f"emulated:/{letter}.img")) for letter in configured]
        self.bearers = Bearers(JsonStore(directory), targets)
        self.told: list[str] = []
        self.known: dict[tuple[str, Identity], bool] = {}

    def see(self, up: Mapping[str, Identity | Sequence[Identity]]) -> dict[str, Any]:
        """Have disks be up that show such namespaces; return how these may be named."""
        shown = [
            (letter, identity)
            for letter in sorted(up, key=self.configured.index)
            for identity in _all(up[letter])
        ]
        found = self.bearers.judge(
            [
                Shown(
                    self.configured.index(letter),
                    f"namespace {identity.nsid} of {letter}",
                    identity,
                    known=(letter, identity) in self.known,
                    ambiguous=self.known.get((letter, identity), False),
                )
                for letter, identity in shown
            ],
            [self.configured.index(letter) for letter in up],
            self.told.append,
        )
        for key, verdict in zip(shown, found, strict=True):
            if verdict is not NONE:
                self.known[key] = verdict is MODEL
        verdicts: dict[str, list[Verdict]] = {letter: [] for letter in up}
        for (letter, _), verdict in zip(shown, found, strict=True):
            verdicts[letter].append(verdict)
        return {
            letter: each if isinstance(up[letter], list) else each[0]
            for letter, each in verdicts.items()
        }


def _all(shown: Identity | Sequence[Identity]) -> Sequence[Identity]:
    return [shown] if isinstance(shown, Identity) else shown


def forget(start: Start, letter: str) -> None:
    start.bearers.forget(f"emulated:/{letter}.img", [])


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Return a state directory after a start with `a` and its copy `b`."""
    assert Start(tmp_path, "ab").see({"a": X, "b": X}) == {"a": OWN, "b": NONE}
    return tmp_path


# ---- what is made anew ----


def test_a_namespace_made_anew_leaves_its_old_names_to_no_copy(pair: Path) -> None:
    anew = disk(nguid="3")
    start = Start(pair, "ab")
    for each in (start, start, Start(pair, "ab"), Start(pair, "ab")):
        assert each.see({"a": anew, "b": X}) == {"a": OWN, "b": NONE}
    forget(start, "a")
    assert start.see({"a": anew, "b": X}) == {"a": OWN, "b": OWN}


# ---- what is not up ----


@pytest.mark.parametrize("configured", ["ab", "ba"])
def test_a_copy_waits_for_one_that_bore_the_name(tmp_path: Path, configured: str) -> None:
    Start(tmp_path, "a").see({"a": X})
    for _ in range(2):  # also when it had come to nothing before
        assert Start(tmp_path, configured).see({"b": X}) == {"b": NONE}
    start = Start(tmp_path, configured)
    assert start.see({"b": X}) == {"b": NONE}
    assert (
        "not there now; if it is gone for good: scsi2nvme forget emulated:/a.img" in start.told[0]
    )
    assert start.see({"a": X, "b": X}) == {"a": OWN, "b": NONE}


def test_a_disk_of_anothers_identifiers_is_named_by_its_model_all_along(tmp_path: Path) -> None:
    Start(tmp_path, "ab").see({"a": X, "b": disk("other")})
    for one, identity in (("a", X), ("b", disk("other"))):
        start = Start(tmp_path, "ab")
        assert start.see({one: identity}) == {one: MODEL}
        assert start.see({"a": X, "b": disk("other")}) == {"a": MODEL, "b": MODEL}


def test_what_is_up_by_itself_keeps_nobody_waiting(tmp_path: Path) -> None:
    Start(tmp_path, "ab").see({"a": X, "b": Y})
    assert Start(tmp_path, "ab").see({"b": Y}) == {"b": OWN}


@pytest.mark.parametrize("configured", ["ab", "ba"])
def test_who_bore_the_name_goes_first_in_whatever_order(pair: Path, configured: str) -> None:
    assert Start(pair, configured).see({"a": X, "b": X}) == {"a": OWN, "b": NONE}


def test_without_a_record_the_first_that_is_up_bears_the_name_and_keeps_it(tmp_path: Path) -> None:
    start = Start(tmp_path, "ab")
    assert start.see({"b": X}) == {"b": OWN}
    assert start.see({"a": X, "b": X}) == {"a": NONE, "b": OWN}
    assert Start(tmp_path, "ab").see({"a": X}) == {"a": NONE}


def test_ports_of_one_disk_need_not_be_up_together(tmp_path: Path) -> None:
    ports = {"a": disk(port=1), "b": disk(port=2)}
    Start(tmp_path, "ab").see(ports)
    assert Start(tmp_path, "ab").see({"b": ports["b"]}) == {"b": OWN}


def test_a_copy_of_a_port_is_no_other_port(tmp_path: Path) -> None:
    ports = {"a": disk(port=1), "b": disk(port=2)}
    Start(tmp_path, "ab").see(ports)
    assert Start(tmp_path, "abc").see({"b": ports["b"], "c": ports["a"]}) == {"b": OWN, "c": NONE}


# ---- what is gone ----


def test_a_disk_that_was_moved_keeps_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Start(tmp_path, "ab").see({"a": X, "b": Y})
    assert Start(tmp_path, "cb").see({"c": X, "b": Y}) == {"c": OWN, "b": OWN}
    (line,) = caplog.messages
    assert "1 at emulated:/c.img has the names that one had at emulated:/a.img" in line
    assert Start(tmp_path, "acb").see({"a": X, "c": X}) == {"a": NONE, "c": OWN}


def test_disks_may_change_places(tmp_path: Path) -> None:
    Start(tmp_path, "ab").see({"a": X, "b": Y})
    start = Start(tmp_path, "ab")
    assert start.see({"b": X}) == {"b": NONE}  # it may be a copy, until `a` is known
    assert start.see({"a": Y, "b": X}) == {"a": OWN, "b": OWN}
    assert Start(tmp_path, "ab").see({"b": X}) == {"b": OWN}


def test_a_replacement_has_its_own_name(tmp_path: Path) -> None:
    Start(tmp_path, "ab").see({"a": X, "b": Y})
    new = disk("new", "3")
    assert Start(tmp_path, "ab").see({"a": new, "b": Y}) == {"a": OWN, "b": OWN}
    assert Start(tmp_path, "ab").see({"b": X}) == {"b": OWN}  # the old one, elsewhere


@pytest.mark.parametrize("configured", ["b", "bc", "cb", "ab"])
def test_a_known_copy_does_not_take_the_name_of_one_that_is_gone(
    pair: Path, configured: str
) -> None:
    """The other was taken out of the configuration, or something else is in its place."""
    others = {letter: Y for letter in configured if letter != "b"}
    for _ in range(2):
        start = Start(pair, configured)
        assert start.see({"b": X, **others})["b"] is NONE
    assert "scsi2nvme forget emulated:/a.img" in start.told[0]
    forget(start, "a")
    assert start.see({"b": X, **others})["b"] is OWN
    assert Start(pair, "ab").see({"a": X}) == {"a": NONE}


def test_a_known_copy_stays_one_while_it_is_not_configured(pair: Path) -> None:
    Start(pair, "a").see({"a": X})
    Start(pair, "c").see({"c": Y})
    assert Start(pair, "b").see({"b": X}) == {"b": NONE}


def test_one_that_was_moved_goes_before_a_known_copy(pair: Path) -> None:
    assert Start(pair, "bc").see({"b": X, "c": X}) == {"b": NONE, "c": OWN}
    assert Start(pair, "bc").see({"b": X}) == {"b": NONE}


def test_a_copy_with_a_serial_number_of_its_own_is_no_copy(pair: Path) -> None:
    own = disk("own", "3")
    assert Start(pair, "ab").see({"a": X, "b": own}) == {"a": OWN, "b": OWN}
    assert len(json.loads((pair / "names.json").read_text())["namespaces"]) == 2


def test_a_namespace_that_is_gone_leaves_its_name_to_no_known_copy(tmp_path: Path) -> None:
    start = Start(tmp_path, "ab")
    both = [disk(nsid=1), disk(nsid=2, nguid="2")]
    assert start.see({"a": both, "b": both}) == {"a": [OWN, OWN], "b": [NONE, NONE]}
    assert start.see({"a": both[:1], "b": both}) == {"a": [OWN], "b": [NONE, NONE]}
    assert start.see({"a": both[:1], "b": []}) == {"a": [OWN], "b": []}
    assert start.see({"a": both[:1], "b": both}) == {"a": [OWN], "b": [NONE, NONE]}
    assert start.see({"a": both, "b": both}) == {"a": [OWN, OWN], "b": [NONE, NONE]}


# ---- the record itself ----


def test_what_another_has_replaced_is_forgotten_unless_it_has_a_rival(tmp_path: Path) -> None:
    start = Start(tmp_path, "ab")
    for number in range(50):
        start.see({"a": disk(f"S{number}", str(number)), "b": Y})
    assert len(json.loads((tmp_path / "names.json").read_text())["namespaces"]) == 2


def test_what_went_last_is_known_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearers, "MAXIMUM_GONE", 3)
    start = Start(tmp_path, "ab")
    gone = [disk(f"S{nsid}", str(nsid), nsid=nsid) for nsid in range(1, 11)]
    for one in gone:
        assert start.see({"a": [one]}) == {"a": [OWN]}
    assert len(json.loads((tmp_path / "names.json").read_text())["namespaces"]) == 4
    verdicts = [Start(tmp_path, "ab").see({"b": one})["b"] for one in gone]
    assert verdicts == [OWN] * 6 + [NONE] * 4


def test_a_start_without_a_disk_does_not_forget_it(tmp_path: Path) -> None:
    Start(tmp_path, "a").see({"a": X})
    Start(tmp_path, "c").see({"c": Y})
    start = Start(tmp_path, "abc")
    assert start.see({"b": X}) == {"b": NONE}
    assert start.see({"a": X, "b": X}) == {"a": OWN, "b": NONE}


def test_a_namespace_that_was_taken_away_is_awaited_at_the_next_start(tmp_path: Path) -> None:
    Start(tmp_path, "a").see({"a": X})
    Start(tmp_path, "a").see({"a": []})
    start = Start(tmp_path, "ab")
    assert start.see({"b": X}) == {"b": NONE}
    assert start.see({"a": [], "b": X}) == {"a": [], "b": OWN}


def test_the_record_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bearers, "MAXIMUM_NAMESPACES", 3)
    many = [disk(nsid=number, nguid=str(number)) for number in range(1, 6)]
    assert Start(tmp_path, "a").see({"a": many}) == {"a": [OWN] * 5}
    assert "5 namespaces are more than the 3" in caplog.text
    assert len(json.loads((tmp_path / "names.json").read_text())["namespaces"]) == 3


def test_the_largest_record_can_be_loaded(tmp_path: Path) -> None:
    identity = Identity(
        (1 << 32) - 2,
        (f"NGUID {'f' * 32}", f"EUI-64 {'f' * 16}", f"UUID {'f' * 32}", f"NAA {'f' * 16}"),
        f"ffff {'f' * 32} {'f' * 40} {(1 << 32) - 2}",
        "f" * 64,
        65535,
    )
    text = json.dumps(asdict(bearers.Seen("emulated:/a.img", identity, refused=True)), indent=1)
    deep = len(text) + 3 * text.count("\n")
    assert deep * bearers.MAXIMUM_NAMESPACES < 1 << 24


def test_a_record_that_cannot_be_saved_counts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "names.json.new"
    obstacle.mkdir()
    start = Start(tmp_path, "ab")
    start.see({"a": X, "b": X})
    assert start.see({"a": [], "b": X})["b"] is NONE
    assert "cannot be saved" in caplog.text
    obstacle.rmdir()
    start.see({"a": [], "b": X})
    assert Start(tmp_path, "ab").see({"b": X}) == {"b": NONE}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda saved: saved | {"disks": 3}, "disks: is an integer"),
        (lambda saved: saved | {"version": 9}, "version is unknown"),
        (lambda saved: saved | {"namespaces": saved["namespaces"] * 2}, "tells one twice"),
        (lambda saved: {**saved, "namespaces": [{"place": "x"}]}, "identity is missing"),
        (lambda saved: {}, "disks is missing"),
    ],
)
def test_a_damaged_record_keeps_the_daemon_from_starting(
    pair: Path, change: Any, words: str
) -> None:
    path = pair / "names.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(OperationError, match=rf"names\.json is damaged .*{words}.*move it away"):
        Start(pair, "ab")


@pytest.mark.parametrize("who", ["b", "a", "c"])
def test_there_is_nothing_to_forget_of_others(pair: Path, who: str) -> None:
    start = Start(pair, "ab")
    start.see({"a": X, "b": X})
    if who == "c":
        with pytest.raises(OperationError, match=r"nothing is on record of 'emulated:/c\.img'"):
            forget(start, who)
    else:
        forget(start, who)  # as if it were not up: `served` is empty
        assert start.see({"a": X, "b": X}) == {"a": OWN, "b": NONE}


def test_a_place_is_where_the_disk_is_however_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("disk.img")
    specs = [
        "emulated:disk.img,size=1M",
        "emulated:link",
        f"emulated:{tmp_path}/disk.img",
        "qemu:disk.img",
        "pci:0000:01:00.0,readonly=on",
        "emulated:memory,serial=A",
        "emulated:memory,serial=B",
        "emulated:memory,serial=B",
        "emulated:odd\u2028name",
    ]
    first, link, whole, qemu, pci, *memory, odd = places(
        [TargetSettings(parse(spec)) for spec in specs]
    )
    assert first == f"emulated:{tmp_path}/disk.img"
    assert (link, whole) == (f"{first} (2)", f"{first} (3)")
    assert qemu == f"qemu:{tmp_path}/disk.img"
    assert pci == "pci:0000:01:00.0"
    assert memory == [*specs[5:7], f"{specs[7]} (2)"]
    assert odd.isprintable()
