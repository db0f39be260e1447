"""Metadata in a buffer of their own, and what nobody fills: as nvme-cli's options say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import passing
from scsi2nvme.api.passing import WhichCommand
from scsi2nvme.cli.control import ask
from scsi2nvme.nvme.command import AdminOpcode
from tests.daemon import Daemon

DISK = "emulated:memory,size=8M,metadata=8,protection=1"  # not behind the blocks
DATA, TUPLES = bytes(range(256)) * 4, bytes(range(16))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("state"), DISK) as daemon:
        yield daemon


def run(daemon: Daemon, *words: object) -> tuple[int, str]:
    verb, *rest = map(str, words)
    with redirect_stdout(io.StringIO()) as told, redirect_stderr(told):
        status = main([verb, "0", "--state-dir", str(daemon.state_dir), *rest])
    return status, told.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    data, tuples = tmp_path / "data", tmp_path / "tuples"
    data.write_bytes(DATA)
    tuples.write_bytes(TUPLES)
    return data, tuples


def test_blocks_and_their_metadata_go_there_and_back(
    daemon: Daemon, files: tuple[Path, Path], tmp_path: Path
) -> None:
    data, tuples = files
    sent = ("-l", 1024, "-m", 16, "-w", "-i", data, "-M", tuples, "--cdw10", 5, "--cdw12", 1)
    assert run(daemon, "io-passthru", "-o", 1, "-n", 1, *sent, "--force")[0] == 0
    back, beside = tmp_path / "back", tmp_path / "beside"
    asked = ("-l", 1024, "-m", 16, "-r", "--cdw10", 5, "--cdw12", 1)
    words = "io-passthru", "-o", 2, "-n", 1, *asked
    assert run(daemon, *words, "-i", back, "-M", beside)[0] == 0
    assert (back.read_bytes(), beside.read_bytes()) == (DATA, TUPLES)
    status, told = run(daemon, *words)
    assert status == 0
    assert "metadata:" in told
    assert " ".join(f"{byte:02x}" for byte in TUPLES) in told


def test_metadata_follow_the_data_as_bytes(
    daemon: Daemon, files: tuple[Path, Path], tmp_path: Path, capfdbinary: Any
) -> None:
    """Where neither has a file, or the data alone."""
    data, tuples = files
    where = ("-n", 1, "--cdw10", 13, "--cdw12", 1, "-l", 1024, "-m", 16)
    sent = ("-o", 1, "-w", "-i", data, "-M", tuples, "--force")
    assert run(daemon, "io-passthru", *where, *sent)[0] == 0
    words = ["io-passthru", "0", "--state-dir", str(daemon.state_dir), "-o", "2", "-r", "-b"]
    words += map(str, where)
    capfdbinary.readouterr()
    assert main(words) == 0
    assert capfdbinary.readouterr().out == DATA + TUPLES
    back = tmp_path / "back"
    assert main([*words, "-i", str(back)]) == 0
    assert (back.read_bytes(), capfdbinary.readouterr().out) == (DATA, TUPLES)


def test_nvme_clis_read_and_write_move_them_as_well(
    daemon: Daemon, files: tuple[Path, Path], tmp_path: Path
) -> None:
    data, tuples = files
    named = ("-n", 1, "-s", 9, "-c", 1, "-z", 1024, "-y", 16)
    assert run(daemon, "write", *named, "-d", data, "-M", tuples, "--force")[0] == 0
    back, beside = tmp_path / "back", tmp_path / "beside"
    assert run(daemon, "read", *named, "-d", back, "-M", beside)[0] == 0
    assert (back.read_bytes(), beside.read_bytes()) == (DATA, TUPLES)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "in a buffer of their own, 16 bytes here: give --metadata-len; or PRACT"),
        (("-m", 8, "-M", "/dev/zero"), "it takes 16 bytes of metadata, not 8"),
    ],
)
def test_what_the_disk_takes_must_be_there(
    daemon: Daemon, files: tuple[Path, Path], options: tuple[object, ...], why: str
) -> None:
    words = ("-o", 1, "-n", 1, "-l", 1024, "-w", "-i", files[0], "--cdw12", 1, "--force")
    status, told = run(daemon, "io-passthru", *words, *options)
    assert status == 1
    assert why in told


def test_what_the_disk_returns_has_room(daemon: Daemon) -> None:
    """However little of it is asked for."""
    state = daemon.state_dir
    which = WhichCommand("0", 2, admin=False, nsid=1, cdw12=1, data_in=1024, metadata_in=4)
    assert len(bytes.fromhex(ask(state, passing.COMMAND, which, None).metadata)) == 4


def test_what_nobody_fills_is_prefilled(daemon: Daemon, tmp_path: Path) -> None:
    """Spec: NVMe Base 2.0c 5.17: Identify has 4096 bytes, however many are wanted."""
    state = daemon.state_dir
    which = WhichCommand("0", AdminOpcode.IDENTIFY, cdw10=1, data_in=4100, prefill=0xA5)
    data = bytes.fromhex(ask(state, passing.LOOK, which, None).data)
    assert data[4096:] == b"\xa5" * 4
    short = tmp_path / "short"
    short.write_bytes(b"\1" * 512)
    words = ("-o", 1, "-n", 1, "-l", 1024, "-w", "-i", short, "--cdw10", 2, "--force")
    pract = ("--cdw12", 1 | 1 << 29, "-R", 7)
    status, told = run(daemon, "io-passthru", *words, *pract)
    assert status == 1
    assert "has 512 bytes, 1024 are to be sent" in told
    assert run(daemon, "io-passthru", *words, *pract, "-p", "0x5a")[0] == 0
    back = tmp_path / "back"
    read = ("-o", 2, "-n", 1, "-l", 1024, "-r", "-i", back, "--cdw10", 2, *pract)
    assert run(daemon, "io-passthru", *read)[0] == 0
    assert back.read_bytes() == b"\1" * 512 + b"\x5a" * 512
