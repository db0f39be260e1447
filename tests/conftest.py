"""What every test has."""

# An editable install rebuilds the C when it changed: once, before workers start.
import scsi2nvme  # noqa: F401

# With several workers, only this conftest is loaded in the process that prints.
from tests.conformance.judgement import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
