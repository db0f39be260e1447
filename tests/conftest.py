"""What every test has."""

import pytest
from hypothesis import HealthCheck, settings

# An editable install rebuilds the C when it changed: once, before workers start.
import scsi2nvme  # noqa: F401

# With several workers, only this conftest is loaded in the process that prints.
from tests import times
from tests.conformance import judgement

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a run has found out besides."""
    judgement.summarize(terminalreporter)
    times.summarize(terminalreporter)
