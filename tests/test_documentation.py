"""Generated pages are what the tables say now."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsi2nvme.commands import COMMANDS
from scsi2nvme.documentation import PAGES, commands

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), "run `make docs` and commit the result"


def test_every_command_has_a_section() -> None:
    page = commands()
    for row in COMMANDS:
        assert f"\n## {row.name}\n" in page
