"""Initiators that count what they move."""

from __future__ import annotations

from tests.daemon import Daemon
from tests.iscsi_client import Initiator
from tests.support import row

BLOCK = 512


class Worker:
    """An initiator that counts for itself what it moves."""

    def __init__(self, running: Daemon, name: str, iqn: str) -> None:
        self.initiator = Initiator(("127.0.0.1", running.port), name=name)
        self.initiator.login(iqn)
        self.counted = [0, 0, 0, 0]

    def read(self, lun: int, lba: int, blocks: int) -> None:
        cdb = row("READ (10)").build(lba=lba, transfer_length=blocks)
        assert len(self.initiator.command(lun, cdb, data_in=blocks * BLOCK).data) == blocks * BLOCK
        self.counted[0] += 1
        self.counted[1] += blocks * BLOCK

    def write(self, lun: int, lba: int, blocks: int) -> None:
        cdb = row("WRITE (10)").build(lba=lba, transfer_length=blocks)
        assert self.initiator.command(lun, cdb, data_out=bytes(blocks * BLOCK)).status == 0
        self.counted[2] += 1
        self.counted[3] += blocks * BLOCK
