"""Log page 07h, against the controller's error log."""

from __future__ import annotations

from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from tests.support import make_bench


def test_error_events_are_listed_from_the_oldest() -> None:
    bench = make_bench()
    newest = ERROR_LOG_ENTRY.build(error_count=2, sqid=1, cmdid=3, status_field=0x4281)
    log = newest + ERROR_LOG_ENTRY.build(error_count=1)
    bench.model.logs[0x01] = log.ljust(bench.lu.facts.controller.elpe * 64 + 64, b"\0")
    page = bench.do("LOG SENSE", pc=1, page_code=0x07, allocation_length=255).data_in
    assert page[8:30] == b"SQ 0 CID 0 STATUS 000h"
    assert page[34:] == b"SQ 1 CID 3 STATUS 281h"
