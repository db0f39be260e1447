"""Advice that works as it is printed, and units that can start what they name."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli import advice
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verbs.export import kernel_target
from scsi2nvme.cli.verbs.install_units import units
from scsi2nvme.target.tcmu import lio


def test_a_requirement_is_for_the_python_that_runs_us() -> None:
    words = shlex.split(advice.install(advice.DBUS_FAST))
    assert words[words[0] == "sudo" :] == [sys.executable, "-m", "pip", "install", "dbus-fast>=4"]


def test_debians_own_python_gets_debians_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    words = shlex.split(advice.install(advice.RTSLIB))
    assert words[words[0] == "sudo" :] == ["apt-get", "install", "python3-rtslib-fb"]
    assert "--break-system-packages" in advice.install(advice.DBUS_FAST)


def test_a_missing_library_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(lio.RtslibMissingError):
        lio.load()
    with pytest.raises(OperationError, match=r"rtslib is missing; run: .*install") as caught:
        kernel_target._rtslib()
    assert "scsi2nvme[" not in str(caught.value)


@pytest.mark.parametrize(
    "program",
    ["/root/src/.venv/bin/scsi2nvme", "/home/me/bin/scsi2nvme", "/tmp/x/scsi2nvme", "scsi2nvme"],
)
def test_a_program_that_the_unit_hides_is_refused(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install-units", "--dry-run", "--program", program]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert program in captured.err


def test_neither_may_a_programs_interpreter_be_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "HIDDEN", (tmp_path / "home",))
    program = tmp_path / "scsi2nvme"
    program.write_text(f"#!{tmp_path}/home/venv/bin/python\n")
    with pytest.raises(OperationError, match="make install"):
        units.check(str(program), Path("/"))
    program.write_text("#!/usr/bin/env python3\n")
    units.check(str(program), Path("/"))


def test_a_unit_names_iommufd_only_where_there_is_one(tmp_path: Path) -> None:
    def allowed() -> bool:
        _, unit = next(iter(units.contents(tmp_path, "/opt/x")))
        return "DeviceAllow=/dev/iommu rw" in unit.splitlines()

    assert not allowed()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/iommu").touch()
    assert allowed()
