"""Log pages as LOG SENSE tells them, for its tests."""

from __future__ import annotations

from typing import Any

from scsi2nvme.commands import log
from scsi2nvme.commands.log_pages.page import (
    PAGE_HEADER,
    PARAMETER_HEADER,
)
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, make_bench

SMART, SELF_TESTS = 0x02, 0x06
CURRENT = 0b01
WRITE_FAULT = 0x280


def sense(bench: Bench, code: int, subpage: int = 0, **fields: Any) -> Result:
    values: dict[str, Any] = {"pc": CURRENT, "allocation_length": 0xFFFF, **fields}
    return bench.do("LOG SENSE", page_code=code, subpage_code=subpage, **values)


def parameters(bench: Bench, code: int, **fields: int) -> dict[int, bytes]:
    """Return a page's parameters by code, after checking that it is well formed."""
    result = sense(bench, code, **fields)
    assert result.status is Status.GOOD, result.sense
    data = result.data_in
    header = PAGE_HEADER.parse(data)
    named = (code, fields.get("subpage", 0))
    (page,) = (p for p in log.supported_pages(bench.lu) if (p.code, p.subpage) == named)
    assert header.ds == (not page.saveable(bench.lu))
    assert (header.spf, header.page_code) == (int("subpage" in fields), code)
    assert header.page_length == len(data) - 4
    found: dict[int, bytes] = {}
    rest = data[4:]
    while rest:
        each = PARAMETER_HEADER.parse(rest)
        assert each.parameter_code > max(found, default=-1)
        found[each.parameter_code] = rest[4 : 4 + each.parameter_length]
        assert len(found[each.parameter_code]) == each.parameter_length
        rest = rest[4 + each.parameter_length :]
    return found


def with_smart(**values: int) -> Bench:
    bench = make_bench()
    bench.model.logs[SMART] = SMART_LOG.build(**values)
    return bench


def numbers(found: dict[int, bytes]) -> dict[int, int]:
    return {code: int.from_bytes(value, "big") for code, value in found.items()}


def refused_in_cdb(result: Result, byte: int, bit: int) -> bool:
    return result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
