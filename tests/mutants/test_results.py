"""What `make mutants` keeps between runs, and what it says in the end."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.operators import Mutant
from tests.mutants.results import Accepted, Results, accepted, stale, table

FAULT = Mutant("scsi2nvme/engine.py", 3, "    if a < b:", "    if a <= b:")
OTHER = Mutant("scsi2nvme/engine.py", 4, "    if a < b:", "    if a <= b:")


def test_every_accepted_survivor_can_still_be_planted_and_has_a_reason() -> None:
    assert stale(accepted()) == []
    assert all(entry.reason for entry in accepted())


def test_an_accepted_survivor_is_known_wherever_its_line_stands() -> None:
    entry = Accepted(FAULT.path, "if a < b:", "if a <= b:", "")
    assert entry.covers(FAULT)
    assert entry.covers(OTHER)
    assert not entry.covers(Mutant(FAULT.path, 3, FAULT.before, "    if a > b:"))
    assert stale([entry]) == [entry]


def test_results_are_kept_until_the_file_changes(tmp_path: Path) -> None:
    subject, test = tmp_path / FAULT.path, tmp_path / "tests/test_engine.py"
    for path in (subject, test):
        path.parent.mkdir()
        path.write_text("")
    kept = Results(tmp_path / "results", tmp_path)
    assert kept.get(FAULT) is None
    kept.put(FAULT, "tests/test_engine.py")
    kept.put(OTHER, "")
    again = Results(tmp_path / "results", tmp_path)
    assert (again.get(FAULT), again.get(OTHER)) == ("tests/test_engine.py", "")
    # Other tests may notice what these did not; what was noticed stays so.
    test.write_text("assert True")
    changed = Results(tmp_path / "results", tmp_path)
    assert (changed.get(FAULT), changed.get(OTHER)) == ("tests/test_engine.py", None)
    subject.write_text("pass")
    assert Results(tmp_path / "results", tmp_path).get(FAULT) is None


def test_the_table_leaves_out_what_is_no_fault() -> None:
    outcomes = [(FAULT, "time"), (OTHER, ""), (OTHER, "build"), (OTHER, "same")]
    assert [line.split()[:4] for line in table(outcomes)] == [
        ["scsi2nvme/engine.py", "2", "tried", "50.0"],
        ["all", "2", "tried", "50.0"],
    ]
