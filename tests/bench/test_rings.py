"""The table of io_uring beside epoll."""

from __future__ import annotations

from contextlib import contextmanager
from typing import NoReturn

import pytest

from bench import peers, rings


def test_a_row_tells_what_each_ring_makes_of_what_epoll_costs() -> None:
    def rounds(cpu_us: float, p50_us: float) -> list[dict[str, float]]:
        return [{"cpu_us": cpu_us, "p50_us": p50_us}] * 3

    by_target = {
        rings.EPOLL: rounds(4.0, 100.0),
        rings.RING: rounds(3.0, 80.0),
        rings.ZERO_COPY: rounds(6.0, 200.0),
    }
    report = {"load_average": 0.1, "workloads": {"read": rings._evaluate(by_target)}}
    assert rings.markdown(report).splitlines()[2:] == [
        "| read | 4.00 | 0.75 (0.75–0.75) | 1.50 (1.50–1.50) | 0.80 (0.80–0.80) |"
    ]


def test_every_size_is_read_and_written_by_one_session_and_by_many() -> None:
    loads = {(work.operation, work.block_bytes, work.sessions) for work in rings.workloads(1)}
    assert len(loads) == 2 * 2 * len({size for size, *_ in rings.SIZES})


def test_a_kernel_without_io_uring_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(size_bytes: int, *, zero_copy: bool = False) -> NoReturn:
        raise peers.NoRing("io_uring: Operation not permitted")

    monkeypatch.setattr(peers, "floor_on_ring", contextmanager(refuse))
    report = rings.run(1, 1)
    assert rings.markdown(report) == "Not measured: io_uring: Operation not permitted.\n"
