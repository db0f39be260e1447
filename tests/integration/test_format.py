"""Commands whose blocks a format makes longer or shorter while their data are awaited."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.integration.disks import KINDS, spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import R2T, SCSI_RESPONSE, ScsiResult
from tests.support import row

LBA, BLOCKS = 3, 2
# Their data, in blocks.
COMMANDS = {
    "WRITE (10)": ({"transfer_length": BLOCKS}, BLOCKS),
    "WRITE AND VERIFY (10)": ({"transfer_length": BLOCKS}, BLOCKS),
    "WRITE SAME (10)": ({"number_of_blocks": BLOCKS}, 1),
    "VERIFY (10)": ({"verification_length": BLOCKS, "bytchk": 1}, BLOCKS),
    "COMPARE AND WRITE": ({"number_of_blocks": 1}, 2),
}


def format_unit(one: Initiator, block_bytes: int) -> None:
    descriptor = bytes(5) + block_bytes.to_bytes(3, "big")
    data = bytes((0, 0, 0, len(descriptor))) + descriptor
    cdb = row("MODE SELECT (6)").build(pf=1, parameter_list_length=len(data))
    assert one.command(0, cdb, data_out=data).status == Status.GOOD
    assert one.command(0, row("FORMAT UNIT").build()).status == Status.GOOD


@pytest.mark.parametrize(("before", "after"), [(512, 4096), (4096, 512)])
def test_data_of_blocks_of_another_length_are_refused(
    tmp_path: Path, before: int, after: int
) -> None:
    disk = spec("emulated", tmp_path, size_mib=1, block=before)
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        awaited = []
        for name, (fields, blocks) in COMMANDS.items():
            data = b"\x5a" * (blocks * before)
            cdb = row(name).build(lba=LBA, **fields)
            one.begin(0, cdb, data_out=data, immediate=0)
            asked = one.receive()
            assert asked.opcode == R2T
            awaited.append((asked, data))
        format_unit(one, after)
        for asked, data in awaited:
            one._answer_r2t(asked, 0, data)
            ended = one.receive()
            assert (ended.opcode, ended.itt) == (SCSI_RESPONSE, asked.itt)
            assert ended.scsi_status == Status.BUSY
        cdb = row("READ (10)").build(transfer_length=64)
        assert not any(one.command(0, cdb, data_in=64 * after).data)


# ---- initialization patterns ----

PATTERN = b"\xa5\x5a\x00"
IP, IMMED = 0x88, 0x02  # with FOV
FORMAT_CORRUPTED, FORMAT_IN_PROGRESS = (0x3, 0x31, 0x00), (0x2, 0x04, 0x04)


def initialize(one: Initiator, *, immed: int = 0) -> ScsiResult:
    data = bytes((0, IP | immed, 0, 0, 0, 1, 0, len(PATTERN))) + PATTERN
    result = one.command(0, row("FORMAT UNIT").build(fmtdata=1), data_out=data)
    assert (result.overflow, result.underflow) == (0, 0)  # the CDB tells of the header alone
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_all_blocks_hold_a_pattern(tmp_path: Path, kind: str) -> None:
    disk = spec(kind, tmp_path, size_mib=4, block=512)
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        assert initialize(one).status == Status.GOOD
        block = (PATTERN * 171)[:512]
        for lba in (0, 2040, 8192 - 16):
            cdb = row("READ (10)").build(lba=lba, transfer_length=16)
            assert one.command(0, cdb, data_in=16 * 512).data == 16 * block


def test_a_pattern_that_a_crash_interrupts_is_no_medium(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=4)
    ready = row("TEST UNIT READY").build()
    with (
        Daemon(tmp_path, f"{disk},fault=write:hang:lba=5000-5000") as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.hear()
        assert initialize(one, immed=IMMED).status == Status.GOOD
        assert one.command(0, ready).sense_triple == FORMAT_IN_PROGRESS
        daemon.stop(signal.SIGKILL)
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        assert one.command(0, ready).sense_triple == FORMAT_CORRUPTED
        assert one.command(0, row("FORMAT UNIT").build()).status == Status.GOOD
        assert one.command(0, ready).status == Status.GOOD
