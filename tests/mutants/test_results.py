"""What `make mutants` keeps between runs, and what it says in the end."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.judges import Stage, judges_of
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


def test_what_survives_the_c_tests_alone_is_not_known_of_the_others(tmp_path: Path) -> None:
    fault = Mutant("scsi2nvme/csrc/hot.c", 3, "    if (a < b)", "    if (a <= b)")
    (tmp_path / fault.path).parent.mkdir(parents=True)
    (tmp_path / fault.path).write_text("")
    results = Results(tmp_path / "results", tmp_path)
    results.put(fault, "", alone=True)
    assert (results.get(fault, alone=True), results.get(fault)) == ("", None)
    results.put(fault, "tests/native/test_hot.py")
    assert results.get(fault) == "tests/native/test_hot.py"


def test_who_noticed_the_nearest_line_is_asked_first(tmp_path: Path) -> None:
    (tmp_path / "scsi2nvme").mkdir()
    (tmp_path / FAULT.path).write_text("")
    judges = ["tests/test_engine.py", "tests/commands/test_mode.py::test_a", "tests/c/test_hot"]
    kept = Results(tmp_path / "results", tmp_path)
    for number, judge in zip((90, 20, 40), judges, strict=True):
        kept.put(Mutant(FAULT.path, number, FAULT.before, FAULT.after), judge)
    kept.put(FAULT, "time")
    kept.put(OTHER, "tests/test_gone.py")
    again = Results(tmp_path / "results", tmp_path)
    for results in (kept, again):
        assert results.near(FAULT) == [judges[1], judges[2], judges[0]]
    stages = judges_of(FAULT.path, kept.near(FAULT))
    assert [stage for stage in stages if stage.programs] == [
        Stage(programs=("test_hot",)),
        Stage(programs=("test_hot",), sanitized=True),
    ]
    assert stages[2].tests == (judges[1], judges[0])


def test_the_table_leaves_out_what_is_no_fault() -> None:
    outcomes = [(FAULT, "time"), (OTHER, ""), (OTHER, "build"), (OTHER, "same")]
    assert [line.split()[:4] for line in table(outcomes)] == [
        ["scsi2nvme/engine.py", "2", "tried", "50.0"],
        ["all", "2", "tried", "50.0"],
    ]
