"""What shells are told of the program's parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import FAILED
from scsi2nvme.cli.verbs import every_verb


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bash is told."""
    path = tmp_path_factory.mktemp("completion") / "scsi2nvme"
    done = subprocess.run(
        [sys.executable, "-m", "scsi2nvme", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    )
    path.write_text(done.stdout)
    return path


def completed(script: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    function = "complete -p scsi2nvme | sed 's/.*-F *\\([^ ]*\\).*/\\1/'"
    typed = " ".join(f"'{word}'" for word in ("scsi2nvme", *words))
    bash = (
        f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMP_TYPE=9; "
        f'f=$({function}); $f scsi2nvme "{words[-1]}" x; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_verbs(script: Path) -> None:
    wanted = {verb.name for verb in every_verb() if verb.name.startswith("s")}
    assert set(completed(script, "s")) == wanted


def test_bash_completes_options_of_a_verb(script: Path) -> None:
    found = completed(script, "serve", "--p")
    assert {"--portal", "--poll-us"} <= set(found)
    assert completed(script, "explain", "s") == ["sense"]


def test_zsh_is_told_as_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("#compdef scsi2nvme")
    listed = {f"    {verb.name}:'{verb.doc}'" for verb in every_verb() if "'" not in verb.doc}
    assert listed <= set(told.splitlines())  # none ends within a sentence


def test_without_what_makes_it_a_person_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == FAILED
    assert "run: " in capsys.readouterr().err
