"""A run reports, keeps what it found, and says so in its exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import strategies as st

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import FAILED
from scsi2nvme.command import Command
from scsi2nvme.fuzz import runner
from scsi2nvme.fuzz.finding import Finding, Property
from scsi2nvme.fuzz.properties import PROPERTIES, every_row
from scsi2nvme.fuzz.runner import Run
from scsi2nvme.native import hot

Patch = pytest.MonkeyPatch


LEAST = 4  # that is wrong, where something is
wrong = False


def is_right(row: Command, data: st.DataObject) -> None:
    if data.draw(st.integers(0, 255)) >= LEAST and wrong:
        raise Finding(row, "field", "is wrong")


@pytest.fixture
def few(monkeypatch: Patch) -> None:
    """Have a run try properties that cost little: it is the run that is looked at here."""
    cheap = [each for each in PROPERTIES if each.name.startswith("CDB")]
    ours = Property("all is right", every_row, is_right)
    monkeypatch.setattr(runner, "PROPERTIES", (*cheap, ours))


def break_something(monkeypatch: Patch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "wrong", True)


def start(tmp_path: Path, lines: list[str], *, name: str = "WRITE (16)", number: int = 3) -> Run:
    return Run(number=number, name=name, corpus=tmp_path / "corpus", report=lines.append)


def corpus_files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "corpus" / "all-is-right"
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("few")
def test_a_run_without_findings(tmp_path: Path) -> None:
    lines: list[str] = []
    report = start(tmp_path, lines).go(0)
    assert report.failures == []
    assert report.rounds == 1
    assert report.examples > 0
    assert lines[0].startswith("seed 3, ")
    assert lines[-1].endswith(" 0 findings")


@pytest.mark.usefixtures("few")
def test_a_finding_is_told_kept_and_tried_first(tmp_path: Path, monkeypatch: Patch) -> None:
    break_something(monkeypatch)
    lines: list[str] = []
    (failure,) = start(tmp_path, lines).go(0).failures
    assert (failure.property, failure.subject, failure.field) == (
        "all is right",
        "WRITE (16)",
        "field",
    )
    assert any(line == "FINDING all is right: WRITE (16): field: is wrong" for line in lines)
    kept = corpus_files(tmp_path)
    assert kept
    # One example suffices where the corpus knows the failing one.
    monkeypatch.setattr(runner, "FIRST_EXAMPLES", 1)
    assert start(tmp_path, [], number=99).go(0).failures == [failure]


@pytest.mark.usefixtures("few")
def test_what_is_mended_leaves_the_corpus(tmp_path: Path, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        break_something(patch)
        start(tmp_path, []).go(0)
    assert corpus_files(tmp_path)
    monkeypatch.setattr(runner, "FIRST_EXAMPLES", 100)  # a tenth of so many are looked up
    assert start(tmp_path, []).go(0).failures == []
    assert corpus_files(tmp_path) == []


@pytest.mark.usefixtures("few")
def test_the_seed_repeats_a_run(tmp_path: Path, monkeypatch: Patch) -> None:
    break_something(monkeypatch)
    first = start(tmp_path / "a", []).go(0)
    second = start(tmp_path / "b", []).go(0)
    assert first.failures == second.failures
    assert first.examples == second.examples


@pytest.mark.usefixtures("few")
def test_a_finding_is_told_once(tmp_path: Path, monkeypatch: Patch) -> None:
    break_something(monkeypatch)
    monkeypatch.setattr(runner, "EXAMPLES", 1)
    run = start(tmp_path, [])
    run.go(0)
    assert len(run.go(0).failures) == 1


@pytest.mark.slow
def test_a_broken_translation_is_a_finding_with_its_row(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("scsi2nvme.engine._refuse", lambda task: 1 / 0)
    failures = start(tmp_path, [], name="READ CAPACITY (16)").go(0).failures
    assert "READ CAPACITY (16): ZeroDivisionError: division by zero" in {
        failure.message for failure in failures
    }


def test_nothing_to_fuzz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RAED"):
        start(tmp_path, [], name="RAED")


# The program


def arguments(tmp_path: Path, *others: str) -> list[str]:
    common = ["fuzz", "--time", "0", "--seed", "3", "--command", "WRITE (16)"]
    return [*common, "--corpus", str(tmp_path / "corpus"), *others]


def test_the_program_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path)) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "seed 3" in captured.err


def test_the_program_fails_with_a_finding(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hot, "hot_translate", lambda parameters, cdb, data_out=b"": None)
    assert main(arguments(tmp_path, "--json")) == FAILED
    captured = capsys.readouterr()
    assert "FINDING native takes: WRITE (16): hot" in captured.err
    report = json.loads(captured.out)
    assert report["seed"] == 3
    assert [each["subject"] for each in report["failures"]] == ["WRITE (16)"]


@pytest.mark.usefixtures("few")
def test_the_corpus_is_in_the_cache(tmp_path: Path, monkeypatch: Patch) -> None:
    break_something(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = ["fuzz", "--time", "0", "--command", "WRITE (16)"]
    assert main(command) == FAILED
    assert (tmp_path / "scsi2nvme" / "corpus" / "all-is-right" / "WRITE-16").is_dir()


def test_without_hypothesis_one_line_says_what_to_install(
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("scsi2nvme.fuzz")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("scsi2nvme.fuzz", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert main(["fuzz"]) == FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"run: {sys.executable} -m pip install 'hypothesis>=6.100'" in error
