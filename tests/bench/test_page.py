"""The page of figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import __main__ as everything
from bench import system
from bench.page import with_figures


def test_only_what_follows_the_heading_is_replaced() -> None:
    page = with_figures("# Benchmarks\n\n## A\n\nold\n\n## B\n\nb\n", "## A\n", "new\n")
    assert page == "# Benchmarks\n\n## A\n\nnew\n\n## B\n\nb\n"
    assert with_figures(page, "## B\n", "new\n") == page.replace("b\n", "new\n")
    with pytest.raises(ValueError, match="heading '## C'"):
        with_figures(page, "## C\n", "new\n")


@pytest.mark.parametrize("heading", [everything.FIGURES, system.HEADING])
def test_the_documentation_has_the_headings(heading: str) -> None:
    page = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert f"\n{heading}\n" in page
