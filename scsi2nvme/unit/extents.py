"""Blocks of a logical unit, as ranges: which of them meet others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

_FEW = 8  # pairs, that are sooner looked at than put in order


def merged(extents: Iterable[range]) -> list[range]:
    """Return the same blocks in ascending order, as ranges that are apart."""
    result: list[range] = []
    for each in _ascending(extents):
        if result and each.start <= result[-1].stop:
            result[-1] = range(result[-1].start, max(result[-1].stop, each.stop))
        else:
            result.append(each)
    return result


def meet(some: Sequence[range], others: Sequence[range]) -> bool:
    """Whether any block is of both. It takes no longer than to put all in order."""
    if len(some) * len(others) <= _FEW:
        return any(_meets(one, other) for one in some for other in others)
    left, right = _ascending(some), _ascending(others)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        if _meets(one, other):
            return True
        if other.stop <= one.start:
            other = next(right, None)
        else:
            one = next(left, None)
    return False


def _meets(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _ascending(extents: Iterable[range]) -> Iterator[range]:
    """Yield those that are of any blocks, by the first of these."""
    found = (each for each in extents if each.start < each.stop)
    return iter(sorted(found, key=lambda blocks: blocks.start))
