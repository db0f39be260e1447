"""VPD page 8Eh, against Identify Controller."""

from __future__ import annotations

from tests.support import make_bench


def test_nvme_information_is_that_of_identify() -> None:
    bench = make_bench()
    page = bench.do("INQUIRY", evpd=1, page_code=0x8E, allocation_length=255).data_in
    controller = bench.lu.facts.controller
    assert page[:4].hex() == "008e00bc"
    assert page[36:104] == b"".join(controller.bytes(name) for name in ("mn", "sn", "fr"))
