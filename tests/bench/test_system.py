"""The comparison in a whole machine: its order, its figures and what it calls short."""

from __future__ import annotations

from typing import Any

import pytest

from bench import system
from bench.guest import (
    BOUNCED,
    CACHED,
    FABRICS,
    FLOOR,
    LIO,
    MODES,
    NVME,
    RUNNER,
    ZERO_COPY,
    Target,
    Work,
    figures,
)
from bench.tables import Figures

DEEP = Work("read", "random", 32, 4096)
SLOW = Work("write", "sequential", 4, 128 << 10)


class FakeGuest:
    """Gives figures by column, and remembers what was asked."""

    def __init__(self, iops: dict[str, float]) -> None:
        self.iops = iops
        self.asked: list[tuple[str, str]] = []

    def serve(self, column: str) -> list[Target]:
        """See Guest."""
        names = [LIO, RUNNER, CACHED, FLOOR, column] if column == ZERO_COPY else [column]
        others = [Target(NVME, "", "/dev/nvme")] if column == ZERO_COPY else []
        return [*others, *(Target(name, fabric, "/dev/sd") for name in names for fabric in FABRICS)]

    def measure(self, target: Target, work: Work, seconds: int) -> Figures:
        """See Guest."""
        self.asked.append((target.name, work.name))
        return {"iops": self.iops[target.name], "cpu_us": 10.0}

    def in_place(self) -> float:
        """See Guest."""
        return 0.75


def report(**iops: float) -> dict[str, Any]:
    """Return a report in which every workload has the same figures."""
    names = {"nvme": NVME, "lio": LIO, "runner": RUNNER, "cached": CACHED, "floor": FLOOR}
    names |= {"bounced": BOUNCED, "ours": ZERO_COPY}
    guest = FakeGuest(
        dict.fromkeys(names.values(), 1000.0) | {names[k]: v for k, v in iops.items()}
    )
    found, shares = system.measure(guest, 2, 1)
    return {
        "machine": {"processor": "fast"},
        "load_average": 0.0,
        "fabrics": system.evaluate(found),
        "in_place": shares,
    }


def test_every_round_measures_everything_and_turns_the_order() -> None:
    guest = FakeGuest(dict.fromkeys((NVME, LIO, RUNNER, CACHED, FLOOR, *MODES), 1.0))
    system.measure(guest, 2, 1)
    first, second = guest.asked[: len(guest.asked) // 2], guest.asked[len(guest.asked) // 2 :]
    assert sorted(first) == sorted(second)
    assert first[0][0] == NVME
    assert second[0][0] == BOUNCED
    assert second[-1][0] == NVME


@pytest.mark.parametrize(
    ("peer", "ours", "short"),
    [
        (RUNNER, 1500, 0),
        (RUNNER, 1499, 12),
        (CACHED, 1499, 12),
        (LIO, 1000, 0),
        (LIO, 999, 4),  # at queue depth 32
        (LIO, 900, 4),
        (LIO, 899, 8),
        (LIO, 700, 8),
        (LIO, 699, 12),
    ],
)
def test_what_is_short_of_its_goal_is_named(peer: str, ours: float, short: int) -> None:
    peers = dict.fromkeys(("lio", "runner", "cached"), 1.0)
    key = {RUNNER: "runner", CACHED: "cached", LIO: "lio"}[peer]
    found = system.shortfalls(report(**peers | {key: 1000.0}, ours=ours, floor=10000.0))
    assert len(found) == short
    assert all(f"of the IOPS of {peer}, " in line for line in found)


@pytest.mark.parametrize(("ours", "short"), [(1000, 0), (999, 36)])
def test_a_goal_that_the_ring_does_not_allow_is_to_be_near_it(ours: float, short: int) -> None:
    fast = dict.fromkeys(("lio", "runner", "cached"), 9000.0)
    assert len(system.shortfalls(report(**fast, ours=ours, floor=1100.0))) == short


def test_the_report_shows_each_fabric_with_the_ratios() -> None:
    lines = system.markdown(report(ours=1500, lio=1500, cached=500)).splitlines()
    for fabric in FABRICS:
        assert f"### I/O per second over {fabric}" in lines
    row = (
        "| read 4k QD32 | 1000 | 1500 | 1000 | 500 | 1000 | 1000 | 1500 "
        "| 1.50 (1.50–1.50) | 3.00 (3.00–3.00) | 1.00 (1.00–1.00) | 1.50 (1.50–1.50) |"
    )
    assert lines.count(row) == len(FABRICS)
    assert any(line.endswith("75.0 % zero copy, 75.0 % bounced.") for line in lines)
    assert lines[-1] == "Short in nothing."


def test_what_a_workload_prints_is_read() -> None:
    report = '{"jobs": [{"error": 0, "read": {"iops": 500.5, "total_ios": 1000}}]}'
    output = (
        "cpu  10 1 20 1000 50 2 3 0 0 0\n"
        "cpu  60 1 70 2000 90 7 8 0 0 0\n"
        f"bench : Saving output of prerun in bench.prerun.txt\n{report}\n"
    )
    # 110 ticks of 10 ms for 1000 operations.
    assert figures(output, "read") == {"iops": 500.5, "cpu_us": 1100.0}
    with pytest.raises(RuntimeError, match="error 5"):
        figures(output.replace('"error": 0', '"error": 5'), "read")


def test_workloads_are_named_and_given_to_fio() -> None:
    assert (DEEP.name, SLOW.name) == ("read 4k QD32", "seq write 128k QD4")
    assert "--rw=randread --bs=4096 --iodepth=32" in " ".join(DEEP.script("/dev/sda", 1).split())
    assert "--rw=write --bs=131072 --iodepth=4" in " ".join(SLOW.script("/dev/sda", 1).split())
