"""`scsi-passthru`: SCSI commands as people write them, to logical units that a daemon serves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.daemon.by_hand import is_harmless
from scsi2nvme.commands import COMMANDS
from scsi2nvme.fuzz.t10_dif import protected
from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

BLOCK = 512


def run(daemon: Daemon, *words: str) -> tuple[int, str]:
    """Return the exit status, and all that was printed."""
    with redirect_stdout(io.StringIO()) as told, redirect_stderr(told):
        status = main(["scsi-passthru", "0", *words, "--state-dir", str(daemon.state_dir)])
    return status, told.getvalue()


def by_hand(daemon: Daemon, cdb: bytes, *more: str, status: int = 0) -> str:
    ended, told = run(daemon, cdb.hex(" "), *more)
    assert ended == status, told
    return told


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    disk = "emulated:memory,size=16M,metadata=8,protection=1,extended=on"
    with Daemon(tmp_path_factory.mktemp("daemon"), disk) as daemon:
        yield daemon


def test_status_and_data_are_shown(daemon: Daemon) -> None:
    told = by_hand(daemon, row("INQUIRY").build(allocation_length=36)).splitlines()
    assert told[:2] == ["SCSI status: GOOD (00h)", "36 bytes of data"]
    assert told[3].startswith("0000: 00 00 06 12 5b 19 ")  # PROTECT is one
    told = by_hand(daemon, row("TEST UNIT READY").build()).splitlines()
    assert told == ["SCSI status: GOOD (00h)", "0 bytes of data"]  # of no attention


def test_sense_is_told_in_words(daemon: Daemon) -> None:
    told = by_hand(daemon, row("READ (10)").build(lba=0xFFFFFF, transfer_length=1), status=1)
    assert told.startswith("SCSI status: CHECK CONDITION (02h)\nsense data: 7")
    assert "LOGICAL BLOCK ADDRESS OUT OF RANGE" in told
    assert "INVALID COMMAND OPERATION CODE" in by_hand(daemon, b"\xc5" + bytes(9), status=1)


def test_what_changes_data_is_forced(daemon: Daemon, tmp_path: Path) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    data.write_bytes(b"\x5a" * BLOCK)
    write = row("WRITE (10)").build(lba=9, transfer_length=1)
    refused = by_hand(daemon, write, "-i", str(data), status=1)
    assert "WRITE (10) changes data, or what other initiators meet; --force sends it" in refused
    by_hand(daemon, write, "-i", str(data), "--force")
    read = row("READ (10)").build(lba=9, transfer_length=1)
    by_hand(daemon, read, "-o", str(back))
    assert back.read_bytes() == data.read_bytes()
    assert "WRITE (10) is forced" in (daemon.state_dir / "daemon.log").read_text()


def test_protection_information_is_moved(daemon: Daemon, tmp_path: Path) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    whole = protected(b"\x11" * 2 * BLOCK, 20, block_bytes=BLOCK)
    data.write_bytes(whole)
    write = row("WRITE (16)").build(lba=20, transfer_length=2, wrprotect=1)
    by_hand(daemon, write, "-i", str(data), "--force")
    read = row("READ (16)").build(lba=20, transfer_length=2, rdprotect=1)
    by_hand(daemon, read, "-o", str(back))
    assert back.read_bytes() == whole
    data.write_bytes(whole[:-1] + b"\xff")
    refused = by_hand(daemon, write, "-i", str(data), "--force", status=1)
    assert "LOGICAL BLOCK REFERENCE TAG CHECK FAILED" in refused


def test_reservations_count_it_like_any_initiator(daemon: Daemon, tmp_path: Path) -> None:
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        key = bytes(8) + (7).to_bytes(8, "big") + bytes(8)
        register = row("PERSISTENT RESERVE OUT, REGISTER").build(parameter_list_length=24)
        assert one.command(0, register, data_out=key).status == Status.GOOD
        reserve = row("PERSISTENT RESERVE OUT, RESERVE").build(type=3, parameter_list_length=24)
        own = (7).to_bytes(8, "big") + bytes(16)
        assert one.command(0, reserve, data_out=own).status == Status.GOOD
        read = row("READ (10)").build(lba=9, transfer_length=1)
        told = by_hand(daemon, read, status=1)
        assert told.startswith("SCSI status: RESERVATION CONFLICT (18h)")
        clear = row("PERSISTENT RESERVE OUT, CLEAR").build(parameter_list_length=24)
        assert one.command(0, clear, data_out=own).status == Status.GOOD
        by_hand(daemon, read)


def test_others_are_told_of_what_it_changes(daemon: Daemon) -> None:
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        by_hand(daemon, row("FORMAT UNIT").build(), "--force")  # alone, in its turn
        ready = one.command(0, row("TEST UNIT READY").build())
        assert ready.status == Status.CHECK_CONDITION
        assert ready.sense_triple[0] == 6


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("12", "-n", "5"), "namespace 5 is no logical unit here; those are: 1"),
        (("zz",), "zz: not bytes in hexadecimal, two digits each"),
        (("88", "-r", "9999999"), "data_in: 9999999 bytes are not 0 to 2097152"),
        (("2a", "-i", "/nowhere"), "/nowhere: No such file or directory"),
        (
            ("2a", "0", "0", "0", "0", "0", "0", "0", "1", "0", "--force"),
            "data_out: the CDB announces 512 bytes; there are 0",
        ),
        (
            ("2a", "0", "0", "0", "0", "0", "0", "0", "40", "0", "--force"),
            "data_out: the CDB announces 32768 bytes, and at most 28672 can be sent; there are 0",
        ),
    ],
)
def test_what_makes_no_sense(daemon: Daemon, words: tuple[str, ...], why: str) -> None:
    status, told = run(daemon, *words)
    assert status > 0
    assert why in told


def test_who_may_be_sent_without_force() -> None:
    free = {each.name for each in COMMANDS if is_harmless(each)}
    assert {"INQUIRY", "READ (16)", "VERIFY (16)", "SYNCHRONIZE CACHE (10)"} <= free
    kept_back = (
        *("WRITE", "UNMAP", "FORMAT", "SANITIZE", "MODE SELECT", "LOG SELECT", "START STOP"),
        *("PERSISTENT RESERVE OUT", "RESERVE (", "EXTENDED COPY", "SECURITY PROTOCOL OUT"),
        *("POPULATE TOKEN", "WRITE USING TOKEN", "COPY OPERATION ABORT", "SET "),
        "STREAM CONTROL",
    )
    assert not [name for name in free if name.startswith(kept_back)]
