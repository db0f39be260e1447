"""Firmware that initiators download over the portal, into an emulated controller's slots."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.firmware_image import Firmware, Needs, build
from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.support import row

LUNS = (0, 1)
PIECE = 128 << 10
MICROCODE = (6, 0x3F, 0x01)
INQUIRY_DATA = (6, 0x3F, 0x03)
NONE = (0, 0, 0)


@contextmanager
def two_initiators(tmp_path: Path, **options: object) -> Iterator[tuple[Daemon, list[Initiator]]]:
    disk = spec("emulated", tmp_path, size_mib=1, namespaces=2, slots=3, **options)
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(tmp_path, disk))
        both = [
            stack.enter_context(Initiator(("127.0.0.1", daemon.port), name=f"iqn.2026-11.i:{n}"))
            for n in range(2)
        ]
        for one in both:
            one.login(IQN)
            for lun in LUNS:
                one.hear(lun)
        yield daemon, both


def write(one: Initiator, mode: str, data: bytes = b"", **fields: int) -> tuple[int, int, int]:
    if data:
        fields["parameter_list_length"] = len(data)
    result = one.command(0, row(f"WRITE BUFFER, {mode}").build(**fields), data_out=data)
    return NONE if result.status == Status.GOOD else result.sense_triple


def revision(one: Initiator, lun: int = 0) -> bytes:
    return one.command(lun, row("INQUIRY").build(allocation_length=96), data_in=96).data[32:36]


def attentions(one: Initiator, lun: int) -> list[tuple[int, int, int]]:
    """Take the unit attentions that wait."""
    found = []
    while (result := one.command(lun, bytes(6))).status != Status.GOOD:
        found.append(result.sense_triple)
    return found


@pytest.mark.parametrize(
    "firmware",
    [Firmware("F2.0"), Firmware("F2.0", Needs.CONTROLLER_RESET), Firmware("F2.0", pause=30)],
    ids=["at once", "by a reset", "by a reset, as it takes too long"],
)
def test_firmware_runs_and_everybody_else_is_told(tmp_path: Path, firmware: Firmware) -> None:
    image = build(firmware, bytes(range(256)) * 1200)
    with two_initiators(tmp_path, firmware="on") as (daemon, (one, other)):
        written = row("WRITE (10)").build(lba=7, transfer_length=1)
        assert one.command(0, written, data_out=b"\x5a" * 512).status == Status.GOOD
        for at in range(0, len(image), PIECE):
            piece = image[at : at + PIECE]
            mode = "download with offsets, save and activate"
            assert write(one, mode, piece, buffer_id=2, buffer_offset=at) == NONE
        for lun in LUNS:
            assert attentions(one, lun) == []
            assert attentions(other, lun) == [MICROCODE, INQUIRY_DATA]
            assert revision(one, lun) == revision(other, lun) == b"F2.0"
        read = one.command(0, row("READ (10)").build(lba=7, transfer_length=1), data_in=512)
        assert read.data == b"\x5a" * 512
        assert ("controller reset" in daemon.log.read_text()) == (firmware != Firmware("F2.0"))
        found = subprocess.run(["iscsi-inq", daemon.url(1)], capture_output=True, text=True)
        assert "F2.0" in found.stdout


def test_activation_is_deferred_and_pauses(tmp_path: Path) -> None:
    image = build(Firmware("F2.0", pause=3))
    with two_initiators(tmp_path, firmware="on") as (daemon, (one, other)):
        assert write(one, "download with offsets, save and defer", image) == NONE
        assert revision(one) != b"F2.0"
        activate = row("WRITE BUFFER, activate deferred").build()
        itt = one.begin(0, activate)
        assert daemon.logs("paused, to activate firmware")
        read = row("READ (10)").build(transfer_length=1)
        assert other.command(1, read, data_in=512).status == Status.GOOD  # afterwards
        assert one.finish(itt).status == Status.GOOD
        assert other.command(1, bytes(6)).sense_triple == MICROCODE
        assert revision(other, 1) == b"F2.0"
        assert write(one, "activate deferred") == (5, 0x2C, 0)
        assert "controller reset" not in daemon.log.read_text()


def test_what_is_wrong_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    with two_initiators(tmp_path, firmware="on") as (_, (one, other)):
        before = revision(one)
        whole = "download, save and activate"
        assert write(one, whole, b"\x5a" * 8192) == (5, 0x26, 0)
        assert write(one, whole, build(Firmware("F2.0")), buffer_id=1) == (5, 0x24, 0)
        prohibited = build(Firmware("F2.0", Needs.PROHIBITED))
        assert write(one, whole, prohibited) == (7, 0x27, 0)
        assert write(one, whole, build(Firmware("F2.0", Needs.SUBSYSTEM_RESET))) == NONE
        assert revision(one) == revision(other) == before
        assert attentions(other, 0) == []


def test_nobody_may_unless_it_is_allowed(tmp_path: Path) -> None:
    with two_initiators(tmp_path) as (_, (one, _other)):
        assert write(one, "download, save and activate", build(Firmware("F2.0"))) == (5, 0x24, 0)
