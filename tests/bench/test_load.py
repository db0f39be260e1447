"""The load generator's command line, and whose CPU time is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import load, peers
from bench.peers import CpuMeter, Target


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (load.Load("read", depth=32, sessions=4), "read 4k QD32 ×4"),
        (load.Load("write", "sequential", 8, block_bytes=128 << 10), "seq write 128k QD8 ×1"),
        (load.Load("read", "sequential", 4, block_bytes=1 << 20), "seq read 1M QD4 ×1"),
    ],
)
def test_a_load_is_named_by_what_it_does(work: load.Load, name: str) -> None:
    assert work.name == name


def test_every_parameter_reaches_the_load_generator() -> None:
    words = load.Load("write", "sequential", 2, 3, 8192, 7, 1 << 20, 5).arguments()
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--operation": "write",
        "--pattern": "sequential",
        "--depth": "2",
        "--sessions": "3",
        "--bytes": "8192",
        "--seconds": "7",
        "--span": "1048576",
        "--luns": "5",
    }


def test_cpus_are_limited_for_the_time_being() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with load.on_cpus(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before


def test_the_meter_meters_the_process_that_it_is_told_to() -> None:
    ourselves = Target("ourselves", "", os.getpid(), 0.0)
    with CpuMeter(ourselves) as meter:
        before = os.times()
        while os.times().user - before.user < 0.05:
            pass
    assert meter.seconds >= 0.04


@pytest.mark.slow
def test_a_disk_in_memory_is_full_before_it_is_measured(tmp_path: Path) -> None:
    size_bytes = 128 << 20
    with peers.in_memory(tmp_path, size_bytes) as target:
        assert target.resident_bytes() >= size_bytes
