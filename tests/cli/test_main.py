"""The program's arguments, help and exit statuses, without a daemon."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.errors import FAILED, MISUSED
from scsi2nvme.cli.verbs import every_verb
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from tests.daemon import PROGRAM


@pytest.mark.parametrize("name", [verb.name for verb in every_verb()])
def test_help_of_every_subcommand(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "exit status:" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", [verb.name for verb in every_verb()])
def test_a_wrong_option_names_the_help_of_its_verb(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = argparse.ArgumentParser(add_help=False)
    next(verb for verb in every_verb() if verb.name == name).arguments(own)
    needed = [
        word
        for action in own._actions
        if (action.required if action.option_strings else action.nargs not in ("?", "*"))
        for word in (*action.option_strings[:1], str(next(iter(action.choices or ["1"]))))
    ]
    assert main([name, *needed, "--no-such-option"]) == MISUSED
    said = "scsi2nvme: unrecognized arguments: --no-such-option"
    assert capsys.readouterr().err == f"{said}; see: scsi2nvme {name} --help\n"


def test_help_is_for_terminals_of_any_encoding() -> None:
    script = (
        "from scsi2nvme.__main__ import main\nfrom scsi2nvme.cli.verbs import every_verb\n"
        "for verb in every_verb():\n try: main([verb.name, '--help'])\n except SystemExit: pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\" not in done.stdout
    assert done.stdout.count(b"exit status:") == len(every_verb())


def test_words_that_cannot_be_encoded_are_written_as_escapes(tmp_path: Path) -> None:
    image = os.fsencode(tmp_path) + b"/\xff\xe2\x82\xac"
    done = subprocess.run(
        [*PROGRAM, "list", b"emulated:" + image],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert b"Traceback" not in done.stderr
    assert rb"\udcff\u20ac" in done.stdout + done.stderr


def test_help_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for verb in every_verb():
        assert f" {verb.name} {verb.doc}" in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serve"], "--controller"),
        (["serve", "--controller", "tape:x"], "tape"),
        (["serve", "--controller", "qemu:", "--portal", "nowhere"], "nowhere"),
        (["serve", "--controller", "qemu:", "--reactors", "0"], "reactors"),
        (["serve", "--controller", "qemu:", "--reactors", "65"], "64"),
        (["serve", "--controller", "qemu:", "--iqn", "disk"], "disk"),
        (["serve", "--controller", "qemu:", "--iqn", "iqn.2026-11.x:\udcff"], "udcff"),
        (["serve", "--controller", "qemu:", "--portal", "1.2.3.4:" + "9" * 5000], "99999"),
        (["serve", "--controller", "emulated:x\0"], "control character"),
        (["serve", "--controller", "emulated::memory"], "emulated:memory"),
        (["serve", "--controller", "emulated:x,size=" + "9" * 5000], "size"),
        (["serve", "--config", "a\0b"], "configuration"),
        (["list", "emulated:"], "use emulated:PATH or emulated:memory"),
        (["serve", "--config", "/nonexistent"], "/nonexistent"),
        (["id-ctrl", "tape:x"], "tape"),
        (["fuzz", "--time", "soon"], "soon"),
        (["fuzz", "--time", "9" * 5000], "9"),
        (["fuzz", "--command", "RAED (10)"], "RAED"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == MISUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("scsi2nvme: ")
    assert word in captured.err


@pytest.mark.parametrize("verb", ["list", "id-ctrl", "id-ns", "smart-log", "error-log"])
def test_inspection_without_a_daemon_says_so(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--state-dir", str(tmp_path)]) == FAILED
    assert "no scsi2nvme is running" in capsys.readouterr().err


@pytest.mark.parametrize("transport", ["emulated", "qemu"])
@pytest.mark.parametrize("verb", ["list", "id-ctrl", "id-ns", "smart-log", "error-log"])
def test_what_is_not_there_is_not_made_by_looking(
    verb: str, transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, f"{transport}:{tmp_path}/typo.img"]) == FAILED
    assert "typo.img: No such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_looking_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "disk.img"
    EmulatedTransport(EmulatedOptions(path=image, size_bytes=1 << 20)).close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for verb in ("list", "id-ctrl", "id-ns", "smart-log", "error-log"):
        assert main([verb, f"emulated:{image}"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    capsys.readouterr()
    assert main(["smart-log", "--json", f"emulated:{image}"]) == 0
    assert json.loads(capsys.readouterr().out)["power_cycles"] == 1


def test_the_daemon_serves_the_kernel_from_its_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Settings] = []

    def run(settings: Settings, source: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr("scsi2nvme.cli.daemon.serve.run", run)
    file = tmp_path / "scsi2nvme.toml"
    monkeypatch.setattr("scsi2nvme.cli.verbs.serve.DAEMON_CONFIG", str(file))
    assert main(["daemon"]) == MISUSED
    assert str(file) in capsys.readouterr().err
    assert main(["daemon", "--controller", "emulated:memory"]) == 0
    file.write_text('[[controllers]]\nspec = "pci:0000:01:00.0"\n')
    assert main(["daemon"]) == 0
    assert [one.targets[0].spec.text for one in served] == ["emulated:memory", "pci:0000:01:00.0"]
    assert all(one.tcmu is not None and one.portals == () for one in served)


def test_fuzz_reports_and_keeps_a_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fuzz", "--time", "0", "--seed", "7", "--command", "TEST UNIT READY"]
    assert main([*arguments, "--corpus", str(tmp_path)]) == 0
    assert "seed 7" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error_message(unbuffered: str) -> None:
    script = "import sys; from scsi2nvme.__main__ import main; sys.exit(main(['serve', '--help']))"
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{script}" | true'],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert done.stderr == ""
