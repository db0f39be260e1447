"""Try every property on every subject, for as long as one likes.

Failures are shrunk by hypothesis and kept in a corpus, so that the next run
begins with them.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import Flaky, Unsatisfiable

from scsi2nvme.fuzz.finding import Finding, Property, Subject
from scsi2nvme.fuzz.properties import PROPERTIES

# A first round looks at everything quickly, the others thoroughly.
FIRST_EXAMPLES, EXAMPLES = 5, 50
_REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A property that does not hold, with the shrunk reason."""

    property: str
    subject: str
    field: str
    message: str


@dataclass
class Report:
    """What a run has done. `examples` counts all that were tried, shrinking included."""

    seed: int
    seconds: float = 0.0
    rounds: int = 0
    examples: int = 0
    failures: list[Failure] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shall say."""
        return asdict(self)


def cases(name: str = "") -> Iterator[tuple[Property, Subject]]:
    """Yield every property with every subject whose name begins with `name`."""
    for each in PROPERTIES:
        for subject in each.subjects():
            if subject.name.casefold().startswith(name.casefold()):
                yield each, subject


def examine(
    each: Property,
    subject: Subject,
    *,
    examples: int,
    number: int,
    database: ExampleDatabase | None = None,
    counted: Callable[[], None] = lambda: None,
    shrink: bool = True,
) -> Failure | None:
    """Try one property on one subject; `number` seeds the choice of examples."""
    phases = set(Phase) - ({Phase.explain} if shrink else {Phase.explain, Phase.shrink})

    @settings(
        max_examples=examples,
        database=database,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
        phases=phases,
    )
    @seed(number)
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        counted()
        each.check(subject, data)

    try:
        attempt()
    except Unsatisfiable:
        return None  # no controller of this round could have the command
    except Finding as finding:
        return Failure(each.name, finding.subject, finding.field, str(finding))
    except Flaky as error:
        return Failure(each.name, subject.name, "", f"{subject.name}: not reproducible: {error}")
    except Exception as error:  # whatever a translation raises is a finding
        message = f"{subject.name}: {type(error).__name__}: {error}"
        return Failure(each.name, subject.name, "", message)
    return None


class Run:
    """One run over all cases whose subject's name begins with `name`.

    `report` gets progress and findings, a line each. ValueError if there are
    no such cases.
    """

    def __init__(
        self, *, number: int | None, name: str, corpus: Path, report: Callable[[str], None]
    ) -> None:
        self._cases = list(cases(name))
        if not self._cases:
            raise ValueError(f"no command's name begins with {name!r}")
        self._corpus, self._say = corpus, report
        self._failed: set[tuple[str, str]] = set()
        self.report = Report(random.SystemRandom().getrandbits(32) if number is None else number)
        self._start = self._said = time.monotonic()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def go(self, seconds: float) -> Report:
        """Fuzz for `seconds`, but at least one quick round."""
        set_hypothesis_home_dir(self._corpus / ".hypothesis")
        report = self.report
        self._say(f"seed {report.seed}, {len(self._cases)} cases, corpus {self._corpus}")
        while self._round(seconds):
            report.rounds += 1
            if self._elapsed >= seconds:
                break
        report.seconds = round(self._elapsed, 1)
        self._say(
            f"{report.seconds:.0f} s, {report.rounds} rounds, {report.examples} examples,"
            f" {len(report.failures)} findings"
        )
        return report

    def _round(self, seconds: float) -> bool:
        """Try every case that has not failed; False if the time was over before the end."""
        report = self.report
        # In any order, so that a time that is too short for all of them favours none.
        order = random.Random(report.seed + report.rounds).sample(
            range(len(self._cases)), len(self._cases)
        )
        for done, index in enumerate(order, start=1):
            if report.rounds and self._elapsed >= seconds:
                return False
            each, subject = self._cases[index]
            if (each.name, subject.name) not in self._failed:
                self._case(each, subject, report.rounds * len(self._cases) + index)
            self._progress(seconds, done, subject)
        return True

    def _case(self, each: Property, subject: Subject, number: int) -> None:
        failure = examine(
            each,
            subject,
            examples=EXAMPLES if self.report.rounds else FIRST_EXAMPLES,
            number=self.report.seed + number,
            database=DirectoryBasedExampleDatabase(
                self._corpus / _file_name(each.name) / _file_name(subject.name)
            ),
            counted=self._count,
        )
        if failure is not None:
            self._failed.add((each.name, subject.name))
            self.report.failures.append(failure)
            self._say(f"FINDING {failure.property}: {failure.message}")

    def _count(self) -> None:
        self.report.examples += 1

    def _progress(self, seconds: float, done: int, subject: Subject) -> None:
        now = time.monotonic()
        if now - self._said >= _REPORT_SECONDS:
            self._said = now
            self._say(
                f"{self._elapsed:.0f} of {seconds:.0f} s, round {self.report.rounds + 1},"
                f" case {done} of {len(self._cases)}, {self.report.examples} examples:"
                f" {subject.name}"
            )


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
