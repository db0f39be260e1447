"""Run what initiators do for a number of steps: chosen by hypothesis, or quickly by a seed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.model.choices import Drawn, Seeded
from tests.model.judgement import Wrong
from tests.model.machine import KINDS, Initiators
from tests.model.ways import WAYS, Bed

STEPS_OF_EXAMPLE = 40
_EXAMPLES = 100  # of one round, which has a seed of its own
_STEPS_OF_SEED = 100
_REPORT_S = 30.0
_SHRINK_S = 300.0
_LOST_S = 18.0  # a command that is lost ends after 20 seconds
_LOOK_S = 0.1

Report = Callable[[str], None]
Step = tuple[str, Mapping[str, Any]]  # of KINDS, with its values


class _Errors(logging.Handler):
    """What the program itself logs as an error of its own: none is due."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def initiators(kind: str, way: str, directory: Path) -> Iterator[Initiators]:
    """Give the initiators of a kind of controller and a way to its logical unit."""
    errors = _Errors()
    logging.getLogger("scsi2nvme").addHandler(errors)
    bed = Bed(kind, directory / "disk", threaded=WAYS[way].threaded)
    try:
        through = WAYS[way](bed)
        try:
            yield Initiators(through)
        finally:
            through.close()
    finally:
        bed.close()
        logging.getLogger("scsi2nvme").removeHandler(errors)
    assert not errors.lines, "\n".join(errors.lines)


# ---- chosen by hypothesis ----


def _values(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Any]:
        return KINDS[kind](Drawn(draw))

    return drawn()


def _machine(subject: Initiators) -> type[RuleBasedStateMachine]:
    """Return the state machine whose rules are KINDS."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            subject.begin()

        def teardown(self) -> None:
            subject.end()

    for kind in KINDS:

        def step(self: Machine, values: dict[str, Any], kind: str = kind) -> None:
            getattr(subject, kind)(**values)

        step.__name__ = kind
        setattr(Machine, kind, rule(values=_values(kind))(step))
    return Machine


def run(
    subject: Initiators, steps: int, seed: int, report: Report = print, *, shrink: bool = True
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
        run_state_machine_as_test(
            hypothesis.seed(seed + rounds)(_machine(subject)), settings=chosen
        )
        rounds += 1
        report(
            f"{subject.steps} steps, {time.monotonic() - start:.0f} s, next seed {seed + rounds}"
        )


# ---- chosen by a seed ----


def march(subject: Initiators, steps: int, seed: int, report: Report = print) -> None:
    """Try at least `steps` steps, in examples that follow from seeds from `seed` on.

    A failure is raised after steps were left out for at most five minutes that it needs not.
    """
    start = said = time.monotonic()
    subject.steps = 0
    report(f"seed {seed}")
    while subject.steps < steps:
        done: list[Step] = []
        try:
            _play(subject, _steps(seed), done)
        except Exception:
            report(f"seed {seed} fails at step {len(done)}")
            _explain(subject, done, report)
            raise
        seed += 1
        if (now := time.monotonic()) - said > _REPORT_S or subject.steps >= steps:
            said = now
            report(f"{subject.steps} steps, {now - start:.0f} s, next seed {seed}")


def _steps(seed: int) -> Iterator[Step]:
    """Choose steps, some kinds of which are left out altogether."""
    choose = Seeded(f"{seed}")
    kinds = [kind for kind in KINDS if choose.number(0, 2)] or list(KINDS)
    for _ in range(_STEPS_OF_SEED):
        kind = choose.one(kinds)
        yield kind, KINDS[kind](choose)


def _play(subject: Initiators, steps: Iterator[Step], done: list[Step]) -> None:
    delays = _Delays()
    subject.begin()
    try:
        for step in steps:
            done.append(step)
            kind, values = step
            delays.look()
            start = time.monotonic()
            getattr(subject, kind)(**values)
            if (seconds := time.monotonic() - start) > _LOST_S:
                seconds -= delays.meanwhile_s()
                if seconds > _LOST_S:
                    raise Wrong(f"{kind} took {seconds:.0f} s: something was lost")
    finally:
        subject.end()


class _Delays:
    """How long threads of this process waited for a processor, as on a busy machine all do.

    Whoever waits for what was lost does not.
    """

    def __init__(self) -> None:
        self._at, self._before_s = -math.inf, 0.0

    def look(self) -> None:
        """Begin, or go on where little time has passed: it is dear."""
        if (now := time.monotonic()) - self._at > _LOOK_S:
            self._at, self._before_s = now, self._so_far_s()

    def meanwhile_s(self) -> float:
        """Return how long all of them together have waited since `look`."""
        return self._so_far_s() - self._before_s

    @staticmethod
    def _so_far_s() -> float:
        total = 0
        for each in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                total += int((each / "schedstat").read_text().split()[1])
        return total / 1e9


def _explain(subject: Initiators, steps: Sequence[Step], report: Report) -> None:
    """Say which steps a failure needs."""
    needed = _shrink(subject, steps)
    for kind, values in needed:
        report(f"  {kind}: {values}")


def _shrink(subject: Initiators, steps: Sequence[Step]) -> Sequence[Step]:
    """Leave out steps, ever fewer at once, as long as what is left fails."""
    deadline = time.monotonic() + _SHRINK_S
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps) and time.monotonic() < deadline:
            fewer = [*steps[:at], *steps[at + size :]]
            if _fails(subject, fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def _fails(subject: Initiators, steps: Sequence[Step]) -> bool:
    try:
        _play(subject, iter(steps), [])
    except Exception:
        return True
    return False
