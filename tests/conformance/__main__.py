"""Print docs/conformance.md: `python -m tests.conformance --tgt --lio > docs/conformance.md`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.peers import tgt
from tests.conformance import suite
from tests.conformance.configurations import (
    CONFIGURATIONS,
    IMPOSSIBLE,
    REFUSED,
    SKIPS,
    Configuration,
    Exemption,
)
from tests.conformance.judgement import Examination, Serve
from tests.conformance.suite import Outcome, Verdict
from tests.system import conformance as lio
from tests.system.machine import Machine

TGT = Configuration("tgt, 512, two paths", "", paths=2)
DISK_BYTES = 1 << 30


@contextmanager
def served_by_tgt() -> Iterator[list[str]]:
    """Serve a new disk with Debian's tgt; gives the URLs."""
    with TemporaryDirectory() as directory, tgt(Path(directory), DISK_BYTES) as target:
        yield [target.url] * TGT.paths


def column(configuration: Configuration, serve: Serve) -> list[Verdict]:
    """Run what a configuration includes."""
    with Examination(configuration, serve) as examination:
        return [
            verdict
            for family, tests in suite.tests().items()
            if configuration.includes(family)
            for verdict in examination.run(family, tests)
        ]


def page(columns: dict[str, list[Verdict]]) -> str:
    """Return the page."""
    version = subprocess.run(
        ["dpkg-query", "-W", "-f=${Version}", "libiscsi-bin"], capture_output=True, text=True
    ).stdout
    return f"""# Conformance

Debian's `iscsi-test-cu` (libiscsi-bin {version or "of unknown version"}), every test in a process
of its own under a time limit, with `--dataloss --allow-sanitize -V`: tests that passed / failed /
skipped themselves. `make test` runs it and fails when a test ends in another way than here;
`python -m tests.conformance --tgt --lio > docs/conformance.md` makes this page.

{suite.table(columns)}
## What fails

{exemptions(IMPOSSIBLE + REFUSED, columns, Outcome.FAILED)}
## What is skipped

{exemptions(SKIPS, columns, Outcome.SKIPPED)}"""


def exemptions(
    rows: tuple[Exemption, ...], columns: dict[str, list[Verdict]], outcome: Outcome
) -> str:
    """Return the reasons, and whatever has none."""
    lines = [f"- `{row.tests}`: {row.why}." for row in rows]
    for name, configuration in CONFIGURATIONS.items():
        for verdict in columns[name]:
            known = any(row.covers(verdict.test, configuration) for row in rows)
            if verdict.outcome is outcome and not known:
                lines.append(f"- `{verdict.test}` ({name}): {verdict.detail}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run everything, two configurations at a time, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--tgt", action="store_true", help="Debian's tgt beside")
    parser.add_argument("--lio", action="store_true", help="the kernel's target, in a machine")
    arguments = parser.parse_args()
    jobs: dict[Configuration, Serve] = {each: each.served for each in CONFIGURATIONS.values()}
    if arguments.tgt:
        jobs[TGT] = served_by_tgt
    with ThreadPoolExecutor(2) as pool:
        futures = {each.name: pool.submit(column, each, serve) for each, serve in jobs.items()}
        columns = {name: future.result() for name, future in futures.items()}
    print(page(columns), end="")
    if arguments.lio:
        with Machine() as machine:
            print(f"\n{lio.section(lio.examine(machine, beside=True))}", end="")
    hung = [each for column in columns.values() for each in column if each.outcome is Outcome.HUNG]
    for verdict in hung:
        print(f"{verdict.test}: {verdict.detail}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
