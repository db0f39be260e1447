"""Commands whose blocks a format makes longer or shorter while their data are awaited."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import R2T, SCSI_RESPONSE
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
