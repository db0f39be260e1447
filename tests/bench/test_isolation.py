"""A host among others that misbehave: it goes on, and what they cost is bounded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from bench import crowds, isolation, load, nuisances, peers, storms
from bench.hosts import Address, Play
from bench.nuisances import NUISANCES, Nuisance
from tests.daemon import Daemon

# One that waits for a hung host waits for a minute; one that does not, for milliseconds.
PATIENCE_MS = 10_000
# Answers that nobody takes: 1.1 GiB, were there no limit.
MOST_MIB = 512


@pytest.mark.parametrize(
    "play",
    [
        nuisances.writes_without_data,
        nuisances.reads_not_taken,
        nuisances.answers_not_taken,
        nuisances.trickle,
        storms.aborts_of_reads,
        crowds.half_open,
        crowds.logins,
    ],
    ids=lambda play: play.__name__,
)
def test_who_is_a_nuisance_costs_itself(play: Play, tmp_path: Path) -> None:
    spec = "emulated:memory,size=64M"
    with Daemon(tmp_path, spec, arguments=("--reactors", "1")) as daemon:
        target = peers.Target("scsi2nvme", daemon.url(), daemon.pid, 0.0)
        probe = isolation.Probe(target)
        with isolation.played(Nuisance("one of them", play), *isolation.place_of(target)):
            probe.run(1.0)
    figures = probe.figures
    assert 0 < figures.read_ms < PATIENCE_MS
    assert figures.test_unit_ready_ms < PATIENCE_MS
    assert figures.compare_and_write_ms < PATIENCE_MS
    assert figures.login_ms < PATIENCE_MS
    assert figures.resident_mib < MOST_MIB


@pytest.mark.slow
def test_each_nuisance_troubles_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowds, "CROWD", 20)
    monkeypatch.setattr(crowds, "_GUESSES", 1)  # a second each
    for chap in (False, True):
        place = tmp_path / f"{chap}"
        place.mkdir()
        faults = ("dataset-management:hang",)
        with peers.scsi2nvme(place, 64 << 20, faults=faults, chap=chap) as target:
            for nuisance in sorted(NUISANCES, key=lambda one: len(one.faults)):  # hangs last
                if nuisance.chap is chap:
                    with isolation.played(nuisance, *isolation.place_of(target)):
                        pass


def test_the_table_has_a_row_for_each_nuisance() -> None:
    alone = {"iops": 1000.0, "beside_iops": 900.0, "read_ms": 1.0, "test_unit_ready_ms": 2.0}
    alone |= {"share": 0.95, "compare_and_write_ms": 3.0, "login_ms": 4.0, "resident_mib": 100.0}
    report = {"nobody else": alone, "a flood": alone | {"iops": 500.0, "read_ms": 20.0}}
    lines = isolation.markdown(report).splitlines()
    assert "| nobody else | 1.00 | 0.90 | 0.95 | 1.00 | 2.00 | 3.00 | 4.00 | 100 |" in lines
    assert "| a flood | 0.50 | 0.90 | 0.95 | 20.0 | 2.00 | 3.00 | 4.00 | 100 |" in lines


def test_nuisances_have_names_of_their_own() -> None:
    names = [nuisance.name for nuisance in NUISANCES]
    assert len(set(names)) == len(names)


def test_connections_that_are_opened_and_closed_use_up_no_ports() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        address = listener.getsockname()
        for _ in islice(crowds.opens(address, ""), crowds.AT_ONCE):
            pass
    port = f":{address[1]:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert not [row for row in rows if row[2].endswith(port) and row[3] == "06"]  # TIME_WAIT


class _Counted:
    """Stands for the load generator: each target has throughputs of its own, in turn."""

    def __init__(self, **figures: list[float]) -> None:
        self._figures = {url: iter(each) for url, each in figures.items()}
        self.order: list[str] = []

    def run(self, url: str, part: load.Load) -> dict[str, float]:
        """Return the next one."""
        assert part.seconds == 1
        self.order.append(url)
        return {"iops": next(self._figures[url])}


def test_both_targets_are_measured_in_turns_while_a_nuisance_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = _Counted(a=[9.0, 1.0, 2.0, 0.0], b=[4.0, 4.0, 2.0, 4.0])
    monkeypatch.setattr(load, "run", counted.run)
    monkeypatch.setattr(isolation, "place_of", lambda target: (("127.0.0.1", 1), target.name))
    target, other = (peers.Target(name, name, 0, 0.0) for name in "ab")
    assert isolation.throughputs(target, other, None, 4) == (1.5, 4.0, 0.625)
    assert counted.order == list("abbaabba")


def ends(_address: Address, _target: str) -> Iterator[None]:
    """Troubles nobody after its first step."""
    yield


def stalls(_address: Address, _target: str) -> Iterator[None]:
    """Is still there, and does nothing."""
    yield
    threading.Event().wait()


@pytest.mark.parametrize(("play", "it"), [(ends, "has ended"), (stalls, "does not go on")])
def test_what_does_not_go_on_to_the_end_is_no_measurement(
    play: Play, it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        nuisance = Nuisance("a nuisance", play)
        stack.enter_context(isolation.played(nuisance, ("127.0.0.1", 1), "nobody"))
        monkeypatch.setattr(isolation, "_STALLED_S", 0.2 if play is stalls else 120)
        with pytest.raises(RuntimeError, match=f"a nuisance: it {it}"):
            stack.close()
