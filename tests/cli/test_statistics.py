"""Reckoning with counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.api.statistics import Counts, FailureCount, KindCounts
from scsi2nvme.cli import statistics
from scsi2nvme.cli.statistics import NO_KIND, NOTHING

SOME = KindCounts(3, 12288, 1, 30, (0, 0, 1, 0, 2))
MORE = KindCounts(5, 20480, 1, 90, (0, 0, 1, 0, 2, 0, 2))
MEDIUM_ERROR = FailureCount(2, 3, 0x11, 0, 1)
BUSY = FailureCount(8, 0, 0, 0, 4)


def counts(read: KindCounts, *failures: FailureCount) -> Counts:
    return replace(NOTHING, read=read, begun=read.operations, failures=failures)


def test_buckets_follow_each_other() -> None:
    ends = [statistics.bucket_end_us(bucket) for bucket in range(100)]
    assert ends[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]
    assert ends == sorted(ends)
    assert ends[-1] == 1 << 26


@pytest.mark.parametrize("us", [1 << power for power in range(2, 26)])
def test_a_power_of_two_ends_a_bucket(us: int) -> None:
    assert statistics.bucket_end_us(statistics.buckets_below(us) - 1) == us


def test_a_percentile_is_in_its_bucket() -> None:
    latency = [0] * 20
    latency[2], latency[19] = 99, 1
    kind = KindCounts(100, 0, 0, 0, tuple(latency))
    assert statistics.percentile_us(kind, 0.99) == 2.5
    assert statistics.percentile_us(kind, 1.0) == (56 + 64) / 2
    assert statistics.percentile_us(NO_KIND, 0.99) is None


def test_what_is_new_is_what_both_tell_apart() -> None:
    new = statistics.since(counts(SOME, MEDIUM_ERROR), counts(MORE, MEDIUM_ERROR, BUSY))
    assert new.read == KindCounts(2, 8192, 0, 60, (0, 0, 0, 0, 0, 0, 2))
    assert new.failures == (BUSY,)


def test_counts_that_began_anew_are_all_new() -> None:
    assert statistics.since(counts(MORE), counts(SOME)) == counts(SOME)


def test_counts_that_began_anew_and_are_more_now_are_all_new() -> None:
    now = replace(NOTHING, write=MORE, begun=MORE.operations)
    assert statistics.since(counts(SOME), now) == now


def test_a_sum_has_all() -> None:
    both = statistics.sum_of([counts(SOME, MEDIUM_ERROR), counts(MORE, MEDIUM_ERROR, BUSY)])
    assert both.read == KindCounts(8, 32768, 2, 120, (0, 0, 2, 0, 4, 0, 2))
    assert both.failures == (replace(MEDIUM_ERROR, count=2), BUSY)
