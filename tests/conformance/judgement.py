"""Run families, hold verdicts against what is known, collect them from the tests' reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from itertools import repeat
from types import TracebackType

import pytest

from tests.conformance import suite
from tests.conformance.configurations import (
    IMPOSSIBLE,
    PARTICULAR,
    REFUSED,
    SKIPS,
    UNTIDY,
    Configuration,
    exempt,
)
from tests.conformance.suite import Outcome, Verdict

PROPERTY = "conformance"  # of a test's report: configuration and verdicts as JSON
IMPOSSIBLE_TIMEOUT_S = 5  # what is freed while in use sometimes makes them hang


Serve = Callable[[], AbstractContextManager[list[str]]]  # gives URLs


class Examination:
    """Runs families against a configuration that `serve` serves; a context manager."""

    def __init__(self, configuration: Configuration, serve: Serve) -> None:
        self.configuration = configuration
        self._serve = serve
        self._stack = ExitStack()
        self._urls: list[str] = []

    def run(self, family: str, tests: list[str]) -> list[Verdict]:
        """Run a family's tests, on new disks where that matters."""
        if family in UNTIDY and self.configuration.sanitizes:
            return self._run_at_once(tests)
        if family in PARTICULAR:
            self.end()
        if not self._urls:
            self._urls = self._stack.enter_context(self._serve())
        verdicts = [run(test, self.configuration, self._urls) for test in tests]
        if family in UNTIDY:
            self.end()
        return verdicts

    def _run_at_once(self, tests: list[str]) -> list[Verdict]:
        """Run tests beside each other, each on a new disk."""
        with ExitStack() as stack:
            served = [stack.enter_context(self._serve()) for _ in tests]
            with ThreadPoolExecutor(len(tests)) as pool:
                return list(pool.map(run, tests, repeat(self.configuration), served))

    def end(self) -> None:
        """Serve no more."""
        self._urls = []
        self._stack.close()

    def __enter__(self) -> Examination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


def run(test: str, configuration: Configuration, urls: list[str]) -> Verdict:
    """Run one test."""
    if not exempt(IMPOSSIBLE, test, configuration):
        return suite.run(test, *urls)
    return settled(suite.run(test, *urls, timeout_s=IMPOSSIBLE_TIMEOUT_S), configuration)


def settled(verdict: Verdict, configuration: Configuration) -> Verdict:
    """What no target can pass has failed, in whichever way it ended."""
    passed = verdict.outcome is Outcome.PASSED
    if passed or not exempt(IMPOSSIBLE, verdict.test, configuration):
        return verdict
    return verdict._replace(outcome=Outcome.FAILED)


def expected(test: str, configuration: Configuration) -> Outcome:
    """Return how a test ends, as the tables say."""
    if exempt(SKIPS + configuration.skips, test, configuration):
        return Outcome.SKIPPED
    if exempt(IMPOSSIBLE + REFUSED + configuration.fails, test, configuration):
        return Outcome.FAILED
    return Outcome.PASSED


def surprise(verdict: Verdict, configuration: Configuration) -> str:
    """Return what is wrong with a verdict, "" if it is as the tables say."""
    known = expected(verdict.test, configuration)
    raced = exempt(configuration.races, verdict.test, configuration)
    if verdict.outcome is known or (raced and verdict.outcome is Outcome.FAILED):
        return ""
    return f"{verdict.test} {verdict.outcome}, expected {known}: {verdict.detail}"


def encode(configuration: Configuration, verdicts: list[Verdict]) -> str:
    """Return the value of PROPERTY."""
    return json.dumps([configuration.name, verdicts])


def decode(values: Iterable[str]) -> dict[str, list[Verdict]]:
    """Return verdicts by configuration from values of PROPERTY."""
    columns: dict[str, list[Verdict]] = {}
    for value in values:
        name, rows = json.loads(value)
        verdicts = [Verdict(test, Outcome(outcome), detail) for test, outcome, detail in rows]
        columns.setdefault(name, []).extend(verdicts)
    return columns


def summarize(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of this run."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    properties = (pair for report in reports for pair in report.user_properties)
    columns = decode(str(value) for name, value in properties if name == PROPERTY)
    if columns:
        terminalreporter.section("iscsi-test-cu: passed / failed / skipped")
        terminalreporter.write(suite.table(columns))
