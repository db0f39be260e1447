"""How long test modules take: the table of docs/test-times.md, and what is held against it.

`python -m tests.times` writes the table from the report of the last `make test`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/test-times.md"
REPORT = ROOT / "build/junit.xml"
LEAST_S = 5  # what takes less has no row
GOAL_S = 25 * 60
SYSTEM, MACHINES = "tests/system/", 2
BEHIND_MACHINES = 5  # nice; what needs none still gets a processor often enough for its time-outs
OTHERS = "all others"
_ROW = re.compile(r"^\| `?([^|`]+)`? \| (\d+) \|$", re.MULTILINE)


def budget(page: str | None = None) -> dict[str, int]:
    """Return the seconds of each module that has a row, and of OTHERS; none where no page is."""
    if page is None and not PAGE.exists():
        return {}
    text = PAGE.read_text() if page is None else page
    return {name.strip(): int(seconds) for name, seconds in _ROW.findall(text)}


def module(classname: str) -> str:
    """Return the file of a test's class name in a report, relative to the checkout."""
    parts = classname.split(".")
    while parts and not (ROOT / "/".join(parts)).with_suffix(".py").is_file():
        parts.pop()
    return "/".join(parts) + ".py" if parts else classname


def measured(report: Path) -> dict[str, float]:
    """Return how long each module took by a report in JUnit's format, set-up and end included."""
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).iter("testcase"):
        seconds[module(case.get("classname", ""))] += float(case.get("time", 0))
    return dict(seconds)


def page(seconds: dict[str, float]) -> str:
    """Return docs/test-times.md."""
    rows = sorted(((name, took) for name, took in seconds.items() if took >= LEAST_S), key=_longest)
    lines = [f"| `{name}` | {took:.0f} |" for name, took in rows]
    lines.append(f"| {OTHERS} | {sum(seconds.values()) - sum(took for _, took in rows):.0f} |")
    return f"""# How long tests take

Seconds of a worker's time that each module is to take in `make test`, on two cores without KVM: a
budget. Of the workers, {MACHINES} run machines (`{SYSTEM}`), and then help the others, which run,
at low priority, what needs none. `make test-times` writes the table from the report of the last
`make test`. A run begins with the longest, and tells which modules took more than twice as long
as here; a test demands that machines and all else each end within {GOAL_S // 60} minutes.

| Module | Seconds |
|---|---|
{chr(10).join(lines)}
"""


def _longest(row: tuple[str, float]) -> tuple[float, str]:
    return -row[1], row[0]


def overdue(seconds: dict[str, float]) -> list[str]:
    """Return what is to be said of a run's modules that took far longer than the table says."""
    known = budget()
    if not known:
        return []
    return [
        f"{name}: {took:.0f} s, {known.get(name, f'below {LEAST_S}')} expected"
        for name, took in sorted(seconds.items(), key=_longest)
        if took > 2 * known.get(name, LEAST_S)
    ]


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Print what is overdue."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("::")[0]] += report.duration
    if lines := overdue(seconds):
        reporter.section("more than twice as long as docs/test-times.md says")
        reporter.write("\n".join((*lines, "")))


def main() -> int:
    """Write the page."""
    if not REPORT.exists():
        print(f"run `make test` first: there is no {REPORT}", file=sys.stderr)
        return 1
    PAGE.write_text(page(measured(REPORT)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
