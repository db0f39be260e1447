"""What every test has."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# An editable install rebuilds the C when it changed: once, before workers start.
import scsi2nvme  # noqa: F401

# With several workers, only this conftest is loaded in the process that prints.
from tests import bytecode, times
from tests.conformance import judgement

if TYPE_CHECKING:
    from tests.lanes import Lanes

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

if bytecode.is_wanted():
    bytecode.keep()

# What a shell runs in the background ignores SIGINT and SIGQUIT, what nohup runs SIGHUP, and so
# would the programs that are tested. What is caught is theirs by default; pytest still does nothing
# of it.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


# What is imported and collected stays to the end: to look through it for garbage finds none.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage from now on, but not in what is there already."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--machines`, which tells workers apart."""
    parser.addoption(
        "--machines", type=int, default=0, help="how many of the workers run machines alone"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Lanes | None:
    """Give machines to some of the workers if asked for."""
    from tests.lanes import Lanes  # there may be no xdist

    machines: int = config.getoption("machines")
    return Lanes(config, machines) if machines else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stand back behind the machines of other workers."""
    if item.config.getoption("machines") and not item.get_closest_marker("system"):
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, times.BEHIND_MACHINES))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a run has found out besides."""
    judgement.summarize(terminalreporter)
    times.summarize(terminalreporter)
