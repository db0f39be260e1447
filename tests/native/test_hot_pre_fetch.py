"""What the hot path tells the controller of what will be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.native.hot import hot_translate
from tests.native.test_hot import PARAMETERS
from tests.support import row


@pytest.mark.parametrize(
    ("cdb", "lba", "blocks"),
    [
        (row("PRE-FETCH (10)").build(lba=9, prefetch_length=5), 9, 5),
        (row("PRE-FETCH (16)").build(lba=9, prefetch_length=101), 9, 100),
        (row("PRE-FETCH (16)").build(lba=(1 << 33) - 7), (1 << 33) - 7, 7),
    ],
    ids=lambda each: each.hex() if isinstance(each, bytes) else str(each),
)
def test_what_will_be_read_is_told(cdb: bytes, lba: int, blocks: int) -> None:
    sent = hot_translate(replace(PARAMETERS, hint_blocks=100), cdb)
    sqe = bytes.fromhex("09000000 03000000") + bytes(36) + b"\1" + bytes(19)  # IDR
    told = bytes(4) + blocks.to_bytes(4, "little") + lba.to_bytes(8, "little")
    assert sent is not None
    assert [(op.sqe, op.data_out) for op in sent] == [(sqe, told)]
    assert hot_translate(replace(PARAMETERS, hint_blocks=0), cdb) == []


def test_whose_status_does_not_wait_is_the_engines() -> None:
    cdb = row("PRE-FETCH (16)").build(lba=9, prefetch_length=1, immed=1)
    assert hot_translate(replace(PARAMETERS, hint_blocks=8), cdb) is None
    assert hot_translate(PARAMETERS, cdb) == []
