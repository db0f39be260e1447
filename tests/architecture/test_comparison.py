"""The comparison says of us what the tables say, and so does the emulated controller's page."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.architecture import comparison, emulated
from tests.architecture.comparison import ours, partly, peers, reasons


@pytest.mark.parametrize("written", [comparison, emulated], ids=lambda module: module.PAGE.stem)
def test_a_page_is_up_to_date(written: ModuleType) -> None:
    page = written.PAGE.read_text(encoding="utf-8")
    assert page == written.page(), "run `make docs` and commit the result"


def test_every_row_has_one_word_of_each_peer() -> None:
    names, found = peers()
    for rows in found.values():
        for cells in rows.values():
            assert len(cells) == 1 + len(names)
            assert set(cells[1:]) <= {"yes", "partly", "no"}


def test_codes_are_spelt_alike() -> None:
    """Or a row of ours would stand beside the same of the others."""
    _, found = peers()
    for kind, rows in ours().items():
        assert len(set(rows) & set(found[kind])) > len(rows) / 2
        for code in {*rows, *found[kind]}:
            operation, _, action = code.partition("/")
            assert len(operation) == 3
            assert not action or int(action.rstrip("h"), 16) >= 0


def test_there_is_a_reason_for_what_is_missing_and_nothing_else() -> None:
    _, found = peers()
    for kind, rows in reasons().items():
        assert rows.keys() == found[kind].keys() - ours()[kind].keys()


def test_what_is_partly_there_is_there() -> None:
    for kind, codes in partly().items():
        assert codes <= set(ours()[kind])
