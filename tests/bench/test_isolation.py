"""A host among others that misbehave: it goes on, and what they cost is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import isolation, nuisances, peers
from bench.nuisances import Nuisance
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
    ],
    ids=lambda play: play.__name__,
)
def test_who_hangs_costs_itself(play: nuisances.Play, tmp_path: Path) -> None:
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


def test_the_table_has_a_row_for_each_nuisance() -> None:
    alone = {"iops": 1000.0, "read_ms": 1.0, "test_unit_ready_ms": 2.0}
    alone |= {"compare_and_write_ms": 3.0, "login_ms": 4.0, "resident_mib": 100.0}
    report = {"nobody else": alone, "a flood": alone | {"iops": 500.0, "read_ms": 20.0}}
    lines = isolation.markdown(report).splitlines()
    assert "| nobody else | 1.00 | 1.00 | 2.00 | 3.00 | 4.00 | 100 |" in lines
    assert "| a flood | 0.50 | 20.0 | 2.00 | 3.00 | 4.00 | 100 |" in lines


def test_nuisances_have_names_of_their_own() -> None:
    names = [nuisance.name for nuisance in nuisances.NUISANCES]
    assert len(set(names)) == len(names)
