"""Medians, ratios within a round, and Markdown: no I/O here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, float]


def medians(rounds: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def ratios(ours: Sequence[Figures], peer: Sequence[Figures], figure: str) -> dict[str, Any]:
    """Return ours ÷ peer's in each round (`rounds`), with `median`, `low` and `high`.

    A round in which the peer's figure is 0 has no ratio; ValueError if none has.
    """
    pairs = zip(ours, peer, strict=True)
    each = [mine[figure] / its[figure] for mine, its in pairs if its[figure] > 0]
    if not each:
        raise ValueError(f"no round with a {figure} to compare with")
    return {"median": statistics.median(each), "low": min(each), "high": max(each), "rounds": each}


def spread(ratio: Mapping[str, Any]) -> str:
    """Render what `ratios` returned: the median, and in brackets the extremes."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def number(value: float) -> str:
    """Render a figure with three significant digits, or as an integer from 100 on."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text and the others are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
