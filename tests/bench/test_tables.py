"""Medians, ratios and Markdown."""

from __future__ import annotations

import pytest

from bench import tables


def test_medians_are_taken_of_each_figure_on_its_own() -> None:
    rounds = [
        {"iops": 1.0, "cpu_us": 9.0},
        {"iops": 3.0, "cpu_us": 7.0},
        {"iops": 2.0, "cpu_us": 8.0},
    ]
    assert tables.medians(rounds) == {"iops": 2.0, "cpu_us": 8.0}


def test_ratios_are_taken_within_each_round() -> None:
    ours = [{"iops": 10.0}, {"iops": 300.0}, {"iops": 60.0}]
    peer = [{"iops": 10.0}, {"iops": 100.0}, {"iops": 30.0}]
    ratio = tables.ratios(ours, peer, "iops")
    assert ratio == {"median": 2.0, "low": 1.0, "high": 3.0, "rounds": [1.0, 3.0, 2.0]}
    assert tables.spread(ratio) == "2.00 (1.00–3.00)"


def test_a_round_in_which_the_peer_did_nothing_has_no_ratio() -> None:
    ours, peer = [{"iops": 1.0}, {"iops": 4.0}], [{"iops": 0.0}, {"iops": 2.0}]
    assert tables.ratios(ours, peer, "iops")["rounds"] == [2.0]
    with pytest.raises(ValueError, match="iops"):
        tables.ratios(ours[:1], peer[:1], "iops")


def test_rounds_of_different_length_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tables.ratios([{"iops": 1.0}, {"iops": 1.0}], [{"iops": 1.0}], "iops")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (4.567, "4.57"), (45.67, "45.7"), (99.96, "100.0"), (45678.9, "45679")],
)
def test_figures_have_about_three_digits(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_a_table_is_markdown() -> None:
    assert tables.table(["", "tgt"], [["ready", "1"], ["login", "2"]]) == (
        "|  | tgt |\n| --- | --: |\n| ready | 1 |\n| login | 2 |\n"
    )
