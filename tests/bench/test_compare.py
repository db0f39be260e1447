"""The report of a comparison, and what it calls behind."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench import compare

MEDIANS = dict.fromkeys(("iops", "mb_s", "cpu_us", *compare.LATENCIES), 50.0)


def report(cpu: float, iops: float, name: str = "read 4k QD32 ×1") -> dict[str, Any]:
    """Return a report of one workload with these ratios."""
    ratios = {
        figure: {"median": ratio, "low": ratio, "high": ratio, "rounds": [ratio]}
        for figure, ratio in (("cpu_us", cpu), ("iops", iops))
    }
    medians = dict.fromkeys((compare.OURS, compare.SPINNING, compare.PEER), MEDIANS)
    floors = dict.fromkeys(("ours", "memory", "alone", "p50"), ratios["cpu_us"])
    return {
        "workloads": {name: {"medians": medians, "ratios": ratios, "floors": floors}},
        "calls": {},
    }


@pytest.mark.parametrize(
    ("cpu", "iops", "name", "behind"),
    [
        (0.5, 1.0, "read 4k QD32 ×1", 0),
        (0.51, 1.0, "read 4k QD32 ×1", 1),
        (0.51, 1.0, "read 4k QD1 ×1", 0),
        (1.01, 0.99, "read 4k QD1 ×1", 2),
    ],
)
def test_what_is_behind_is_named(cpu: float, iops: float, name: str, behind: int) -> None:
    found = compare.shortfalls(report(cpu, iops, name))
    assert len(found) == behind
    assert all(each.startswith(name) for each in found)


def test_the_report_has_the_columns_in_the_same_order_everywhere() -> None:
    lines = compare.markdown(report(0.25, 2.0)).splitlines()
    assert "| Workload | tgt | scsi2nvme | ours ÷ tgt's |" in lines
    assert "| read 4k QD32 ×1 | 50.0 | 50.0 | 0.25 (0.25–0.25) |" in lines
    assert "| read 4k QD32 ×1" + " | 50 / 50 / 50 / 50" * 3 + " |" in lines
    assert "| read 4k QD32 ×1 |" + " 0.25 (0.25–0.25) |" * 4 in lines
    assert lines[-1] == "Behind in nothing."


def test_system_calls_are_counted_per_operation() -> None:
    output = (
        "5000;;raw_syscalls:sys_enter;1;100.00;;\n"
        "1000;;syscalls:sys_enter_recvmsg;1;100.00;;\n"
        "0;;syscalls:sys_enter_read;1;100.00;;\n"
        "<not counted>;;syscalls:sys_enter_write;0;0.00;;\n"
    )
    assert compare.calls_per_operation(output, 2000) == {"all": 2.5, "recvmsg": 0.5}


def test_perf_without_tracepoints_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="No permission"):
        compare.calls_per_operation("Error:\nNo permission to enable raw_syscalls\n", 1)


def test_the_workloads_are_those_that_the_documentation_names() -> None:
    names = [work.name for work in compare.workloads(1)]
    assert len(names) == len(set(names)) == 12
    assert {"read 4k QD1 ×1", "write 4k QD32 ×4", "seq write 1M QD4 ×1"} < set(names)


def test_target_and_load_generator_have_a_cpu_each_where_there_are_two() -> None:
    target, generator = compare.Settings(1, 1).cpus()
    if len(os.sched_getaffinity(0)) > 1:
        assert not set(target) & set(generator)
    unpinned = compare.Settings(1, 1, pinned=False).cpus()
    assert [set(each) for each in unpinned] == [os.sched_getaffinity(0)] * 2
