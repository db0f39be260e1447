"""What every test has."""

from hypothesis import HealthCheck, settings

# An editable install rebuilds the C when it changed: once, before workers start.
import scsi2nvme  # noqa: F401

# With several workers, only this conftest is loaded in the process that prints.
from tests.conformance.judgement import pytest_terminal_summary

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

__all__ = ["pytest_terminal_summary"]
