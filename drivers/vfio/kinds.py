"""The kinds of interrupts by the names that people use, which all that knows options reads."""

from __future__ import annotations

POLL = "off"  # to do without
KINDS = ("msix", "msi", "intx", POLL)
"""The best first."""
