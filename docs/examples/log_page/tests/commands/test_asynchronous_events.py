"""Log page 0Bh, against the controller's error log."""

from __future__ import annotations

from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from tests.support import make_bench


def test_events_are_listed_from_the_oldest() -> None:
    bench = make_bench()
    newest = ERROR_LOG_ENTRY.build(error_count=3, cmdid=0xFFFF, status_field=0x4281)
    log = newest + ERROR_LOG_ENTRY.build(error_count=2, cmdid=7)
    log += ERROR_LOG_ENTRY.build(error_count=1, cmdid=0xFFFF)
    bench.model.logs[0x01] = log.ljust(bench.lu.facts.controller.elpe * 64 + 64, b"\0")
    page = bench.do("LOG SENSE", pc=1, page_code=0x0B, allocation_length=255).data_in
    assert page[8:27] == b"ERROR 1 STATUS 000h"
    assert page[31:] == b"ERROR 3 STATUS 281h"
