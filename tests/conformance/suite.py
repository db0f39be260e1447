"""Run `iscsi-test-cu`, a process for each test, and say how each ended."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from enum import StrEnum
from typing import NamedTuple

# The longest needs 5 s of processor time, and of a processor that a machine of another worker
# emulates on it may get a twentieth.
TIMEOUT_S = 180
_SUMMARY = re.compile(r"^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", re.MULTILINE)
_SKIPPED = re.compile(r"\[SKIPPED\]\s*(.*)")


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    HUNG = "hung"


class Verdict(NamedTuple):
    """One test's end. `detail` is the failure's or the skip's reason."""

    test: str  # FAMILY.TEST
    outcome: Outcome
    detail: str = ""

    @property
    def family(self) -> str:
        """The suite that the test belongs to."""
        return self.test.split(".")[0]


LIST = ("iscsi-test-cu", "--list")


def tests() -> dict[str, list[str]]:
    """Return the suite's tests by family, as FAMILY.TEST."""
    return listed(subprocess.run(LIST, capture_output=True, text=True, check=True).stdout)


def listed(listing: str) -> dict[str, list[str]]:
    """Return the tests by family from what LIST prints."""
    families: dict[str, list[str]] = defaultdict(list)
    for line in listing.splitlines():
        parts = line.strip().split(".")
        if len(parts) == 3 and parts[0] == "ALL":
            families[parts[1]].append(f"{parts[1]}.{parts[2]}")
    return dict(families)


def command(test: str, *urls: str) -> list[str]:
    """Return how one test is run against one LUN (a second URL is a second path to it)."""
    return ["iscsi-test-cu", "--dataloss", "--allow-sanitize", "-V", "-t", f"ALL.{test}", *urls]


def run(test: str, *urls: str, timeout_s: int = TIMEOUT_S) -> Verdict:
    """Run one test; `urls` as of `command`."""
    try:
        done = subprocess.run(
            command(test, *urls),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return hung(test, timeout_s)
    return judge(test, done.returncode, done.stdout + done.stderr)


def hung(test: str, timeout_s: int) -> Verdict:
    """Return the verdict on a test that did not end in time."""
    return Verdict(test, Outcome.HUNG, f"no end within {timeout_s} s")


def judge(test: str, status: int, output: str) -> Verdict:
    """Read the output: the exit status alone tells neither failures nor skips."""
    summary = _SUMMARY.search(output)
    # What it finds out of the disk before the test may be missing too.
    _, begun, of_test = output.partition("\n  Test: ")
    skipped = _SKIPPED.findall(of_test if begun else output)
    if summary is None:
        if skipped:
            return Verdict(test, Outcome.SKIPPED, skipped[0])
        last = output.strip().splitlines()[-1:] or ["no output"]
        return Verdict(test, Outcome.FAILED, f"exit status {status}: {last[0]}")
    _, ran, _, failed = (int(number) for number in summary.groups())
    if failed:
        lines = [line.strip() for line in output.splitlines()]
        reasons = [line for line in lines if "CU_" in line or "[FAILED]" in line]
        return Verdict(test, Outcome.FAILED, " / ".join(reasons[:4]))
    if not ran:
        return Verdict(test, Outcome.FAILED, "the suite ran no such test")
    if skipped:
        return Verdict(test, Outcome.SKIPPED, skipped[0])
    return Verdict(test, Outcome.PASSED)


def cell(verdicts: list[Verdict]) -> str:
    """Return `passed / failed / skipped`."""
    if not verdicts:
        return "–"
    count = {
        outcome: sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome
    }
    failed = count[Outcome.FAILED] + count[Outcome.HUNG]
    return f"{count[Outcome.PASSED]} / {failed} / {count[Outcome.SKIPPED]}"


def table(columns: dict[str, list[Verdict]]) -> str:
    """Return a Markdown table: a row per family, `passed/failed/skipped` per column."""
    families = sorted({verdict.family for verdicts in columns.values() for verdict in verdicts})
    lines = [
        "| Family | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]

    for family in families:
        cells = [
            cell([verdict for verdict in verdicts if verdict.family == family])
            for verdicts in columns.values()
        ]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    lines.append(
        "| **All** | " + " | ".join(cell(verdicts) for verdicts in columns.values()) + " |"
    )
    return "\n".join(lines) + "\n"
