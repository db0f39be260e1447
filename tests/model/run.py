"""Run the machine for a number of steps, seeded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine, machine
from tests.model.ways import WAYS, Bed

STEPS_OF_EXAMPLE = 40
_EXAMPLES = 100  # of one round, which has a seed of its own


class _Errors(logging.Handler):
    """What the program itself logs as an error of its own: none is due."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def machines(kind: str, way: str, directory: Path) -> Iterator[type[Machine]]:
    """Give the machine of a kind of controller and a way to its logical unit."""
    errors = _Errors()
    logging.getLogger("scsi2nvme").addHandler(errors)
    bed = Bed(kind, directory / "disk")
    try:
        through = WAYS[way](bed)
        try:
            yield machine(through)
        finally:
            through.close()
    finally:
        bed.close()
        logging.getLogger("scsi2nvme").removeHandler(errors)
    assert not errors.lines, "\n".join(errors.lines)


def run(
    subject: type[Machine],
    steps: int,
    seed: int,
    report: Callable[[str], None] = print,
    *,
    shrink: bool = True,
) -> None:
    """Try at least `steps` steps. A failure is shrunk for at most five minutes, and raised."""
    start = time.monotonic()
    subject.steps = 0
    report(f"seed {seed}")
    rounds = 0
    while subject.steps < steps:
        left = -(-(steps - subject.steps) // STEPS_OF_EXAMPLE)
        chosen = settings(
            max_examples=max(2, min(_EXAMPLES, left)),
            stateful_step_count=STEPS_OF_EXAMPLE,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases={Phase.generate, *([Phase.shrink] if shrink else [])},
        )
        run_state_machine_as_test(hypothesis.seed(seed + rounds)(subject), settings=chosen)
        rounds += 1
        report(
            f"{subject.steps} steps, {time.monotonic() - start:.0f} s, next seed {seed + rounds}"
        )
