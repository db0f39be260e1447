"""The page of figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import with_figures


def test_only_what_follows_the_heading_is_replaced() -> None:
    page = with_figures("# Benchmarks\n\n## Figures\n\nold\n", "new\n")
    assert page == "# Benchmarks\n\n## Figures\n\nnew\n"
    with pytest.raises(ValueError, match="heading"):
        with_figures("# Benchmarks\n", "new\n")


def test_the_documentation_has_that_heading() -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert with_figures(page.read_text(), "new\n").endswith("\nnew\n")
