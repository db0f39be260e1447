"""`scsi2nvme fuzz`: try every property on every row, for as long as one likes.

Failures are shrunk by hypothesis and kept in a corpus, so that the next run
begins with them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import Flaky, Unsatisfiable

from scsi2nvme.commands import COMMANDS
from scsi2nvme.fuzz.properties import PROPERTIES, Property
from scsi2nvme.scsi.command import Command

EXAMPLES_PER_ROUND = 40


@dataclass(frozen=True, slots=True)
class Failure:
    """A property that does not hold, with the shrunk reason."""

    property: str
    row: str
    message: str


def pairs(name: str = "") -> Iterator[tuple[Property, Command]]:
    """Yield every property with every row that it applies to.

    `name` limits the rows to those whose name begins with it.
    """
    for row in COMMANDS:
        if not row.name.casefold().startswith(name.casefold()):
            continue
        for each in PROPERTIES:
            if each.applies(row):
                yield each, row


def examine(
    each: Property,
    row: Command,
    *,
    examples: int,
    number: int,
    database: ExampleDatabase | None = None,
) -> Failure | None:
    """Try one property on one row; `number` seeds the choice of examples."""

    @settings(
        max_examples=examples,
        database=database,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    @seed(number)
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        each.check(row, data)

    try:
        attempt()
    except Unsatisfiable:
        return None  # no namespace of this round could have the command
    except Flaky as error:
        return Failure(each.name, row.name, f"not reproducible: {error}")
    except Exception as error:  # whatever a translation raises is a finding
        return Failure(each.name, row.name, f"{type(error).__name__}: {error}")
    return None


def run(
    *,
    seconds: float,
    number: int | None,
    name: str,
    corpus: Path,
    report: Callable[[str], None],
) -> list[Failure]:
    """Fuzz for `seconds`; `report` gets progress and findings, a line each."""
    number = random.SystemRandom().getrandbits(32) if number is None else number
    todo = list(pairs(name))
    if not todo:
        raise ValueError(f"no command's name begins with {name!r}")
    report(f"seed {number}, {len(todo)} properties of rows, corpus {corpus}")
    failures: dict[tuple[str, str], Failure] = {}
    start = time.monotonic()
    for turn in range(1 << 32):
        for index, (each, row) in enumerate(todo):
            elapsed = time.monotonic() - start
            if elapsed >= seconds and turn:
                report(f"{elapsed:.0f} s, {turn} rounds, {len(failures)} findings")
                return list(failures.values())
            if (each.name, row.name) in failures:
                continue
            place = corpus / each.name.replace(" ", "-") / row.name.replace("/", "-")
            failure = examine(
                each,
                row,
                examples=EXAMPLES_PER_ROUND,
                number=number + turn * len(todo) + index,
                database=DirectoryBasedExampleDatabase(place),
            )
            if failure is not None:
                failures[each.name, row.name] = failure
                report(f"FINDING {failure.property}: {failure.message}")
            if index % 50 == 0:
                report(
                    f"{elapsed:.0f} of {seconds:.0f} s, round {turn + 1},"
                    f" {index} of {len(todo)}: {row.name}"
                )
    raise AssertionError("unreachable: four billion rounds")
