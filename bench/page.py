"""Figures in a page of the documentation."""

from __future__ import annotations


def with_figures(page: str, heading: str, figures: str) -> str:
    """Return a page with what follows a heading of the second level replaced, up to the next."""
    text, found, rest = page.partition(heading)
    if not found:
        raise ValueError(f"the page has no heading {heading.strip()!r}")
    _, following, others = rest.partition("\n## ")
    return f"{text}{heading}\n{figures}{following}{others}"
