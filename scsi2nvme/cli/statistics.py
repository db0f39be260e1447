"""Reckoning with counts: sums, what is new since a former look, latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from scsi2nvme.api.statistics import Counts, FailureCount, KindCounts

_SUB_BUCKETS = 4  # of a power of two

_Answer = tuple[int, int, int, int]

NO_KIND = KindCounts(0, 0, 0, 0, ())
NOTHING = Counts(NO_KIND, NO_KIND, NO_KIND, NO_KIND, 0, 0, 0, ())


def bucket_end_us(bucket: int) -> int:
    """Return the latency from which on the next bucket has them."""
    bucket += 1
    power, within = divmod(bucket, _SUB_BUCKETS)
    return bucket if not power else (_SUB_BUCKETS + within) << (power - 1)


def buckets_below(us: int) -> int:
    """Return how many buckets have what took less than `us`: a power of two, 4 at least."""
    return _SUB_BUCKETS * (us.bit_length() - 2)


def percentile_us(kind: KindCounts, fraction: float) -> float | None:
    """Return what this fraction of the commands took at most, None if there were none.

    It lies in the middle of the bucket.
    """
    left = fraction * kind.operations
    for bucket, count in enumerate(kind.latency):
        left -= count
        if count and left <= 0:
            begin = bucket_end_us(bucket - 1) if bucket else 0
            return (begin + bucket_end_us(bucket)) / 2
    return None


def total(kinds: Iterable[KindCounts]) -> KindCounts:
    """Return the sum of several kinds, or of one at several places."""
    operations = size = failed = latency_us = 0
    latency: Sequence[int] = ()
    for kind in kinds:
        operations += kind.operations
        size += kind.bytes
        failed += kind.failed
        latency_us += kind.latency_us
        latency = [a + b for a, b in zip_longest(latency, kind.latency, fillvalue=0)]
    return KindCounts(operations, size, failed, latency_us, tuple(latency))


def sum_of(several: Iterable[Counts]) -> Counts:
    """Return the counts of several logical units, or sessions, together."""
    these = list(several)
    failures: Counter[_Answer] = Counter()
    for each in these:
        for one in each.failures:
            failures[_answer(one)] += one.count
    return Counts(
        total(each.read for each in these),
        total(each.write for each in these),
        total(each.discard for each in these),
        total(each.other for each in these),
        sum(each.begun for each in these),
        sum(each.under_way for each in these),
        sum(each.aborted for each in these),
        tuple(FailureCount(*answer, count) for answer, count in failures.items()),
    )


def since(before: Counts, now: Counts) -> Counts:
    """Return what has come since a former look; all, where counting has begun anew meanwhile."""
    if any(b < a for a, b in zip(_growing(before), _growing(now), strict=True)):
        return now
    known = {_answer(one): one.count for one in before.failures}
    failures = (replace(one, count=one.count - known.get(_answer(one), 0)) for one in now.failures)
    return Counts(
        _new(before.read, now.read),
        _new(before.write, now.write),
        _new(before.discard, now.discard),
        _new(before.other, now.other),
        now.begun - before.begun,
        now.under_way,
        now.aborted - before.aborted,
        tuple(one for one in failures if one.count),
    )


def _answer(one: FailureCount) -> _Answer:
    return one.status, one.sense_key, one.asc, one.ascq


def _growing(counts: Counts) -> tuple[int, ...]:
    kinds = (counts.read, counts.write, counts.discard, counts.other)
    return counts.begun, counts.aborted, *(kind.operations for kind in kinds)


def _new(before: KindCounts, now: KindCounts) -> KindCounts:
    return KindCounts(
        now.operations - before.operations,
        now.bytes - before.bytes,
        now.failed - before.failed,
        now.latency_us - before.latency_us,
        tuple(a - b for a, b in zip_longest(now.latency, before.latency, fillvalue=0)),
    )
