"""Firmware by nvme-cli's verbs: on a controller that is opened for it, and on a daemon's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.drivers.emulated.firmware_image import Firmware, Needs, build
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import until


@pytest.fixture(name="image")
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(build(Firmware("F2.0"), bytes(range(256)) * 400))
    return path


def test_a_disk_that_nobody_serves(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = f"emulated:{tmp_path / 'disk'},size=1M,slots=3"
    download = ["fw-download", spec, "--fw", str(image)]
    assert main([*download, "--slot", "2", "--action", "1"]) == 0
    told = capsys.readouterr().out
    assert told == "Firmware download success\nSuccess committing firmware action:1 slot:2\n"
    assert main(["fw-log", spec, "-o", "json"]) == 0
    (log,) = json.loads(capsys.readouterr().out).values()
    assert log["Active Firmware Slot (afi)"] == 2  # it was reset to be opened
    assert log["Firmware Rev Slot 2"].endswith("(F2.0    )")
    assert main(["fw-commit", spec, "--slot", "1", "--action", "2"]) == 0
    capsys.readouterr()
    assert main(["fw-log", spec]) == 0
    assert "afi  : 0x1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", ["--action", "1"], "0 bytes are no firmware image"),
        (b"12345", ["--action", "1"], "5 bytes are no firmware image"),
        (bytes(4096), [], "give --action"),
        (bytes(4096), ["--action", "3"], "Invalid Firmware Image"),
        (build(Firmware("F2.0", pause=99)), ["--action", "3"], "--action 1"),
        (build(Firmware("F2.0")), ["--action", "3", "--slot", "1"], "Invalid Firmware Slot"),
        (build(Firmware("F2.0")), ["--action", "3", "--xfer", "6"], "multiple of 4"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    tmp_path: Path,
    content: bytes,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(content)
    spec = "emulated:memory,size=1M,slots=2"
    assert main(["fw-download", spec, "--fw", str(file), *options]) != 0
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_reset_that_is_needed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(build(Firmware("F2.0", Needs.SUBSYSTEM_RESET)))
    spec = "emulated:memory,size=1M,slots=2"
    assert main(["fw-download", spec, "--fw", str(file), "--action", "3"]) == 0
    assert "but firmware requires NVM subsystem reset" in capsys.readouterr().out


def ended(one: Initiator) -> tuple[int, int, int] | None:
    """Return what TEST UNIT READY is told, None if nothing."""
    result = one.command(0, bytes(6))
    return result.sense_triple if result.status else None


def test_a_daemons_controller_and_its_initiators(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = "emulated:memory,size=1M,slots=3"
    with Daemon(tmp_path, spec) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        state = ["--state-dir", str(tmp_path)]
        assert main(["fw-download", "--fw", str(image), *state]) != 0
        assert "--force" in capsys.readouterr().err
        assert main(["fw-download", "--fw", str(image), "--force", *state]) == 0
        assert main(["fw-activate", "--slot", "2", "--action", "3", "--force", *state]) == 0
        assert main(["fw-log", *state]) == 0
        assert "frs2 : 0x20202020302e3246 (F2.0    )" in capsys.readouterr().out
        # The controller tells of it by an event, which may be followed after the verb has ended.
        until(lambda: ended(one) == (6, 0x3F, 0x01), "initiators are told of other firmware")
        one.hear()
        inquiry = one.command(0, row("INQUIRY").build(allocation_length=96), data_in=96)
        assert inquiry.data[32:36] == b"F2.0"
