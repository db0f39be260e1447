"""What was measured: printed, as JSON, and in a page of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def deliver(
    report: dict[str, Any], tables: str, heading: str, *, data: Path | None, page: Path | None
) -> None:
    """Write a report to `data`, its tables under a heading of `page`, and print these."""
    if data:
        data.write_text(json.dumps(report, indent=2) + "\n")
    if page:
        page.write_text(with_figures(page.read_text(), heading, tables))
    print(tables)


def with_figures(page: str, heading: str, figures: str) -> str:
    """Return a page with what follows a heading of the second level replaced, up to the next."""
    text, found, rest = page.partition(heading)
    if not found:
        raise ValueError(f"the page has no heading {heading.strip()!r}")
    _, following, others = rest.partition("\n## ")
    return f"{text}{heading}\n{figures}{following}{others}"
