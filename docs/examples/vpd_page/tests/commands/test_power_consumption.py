"""VPD page 8Dh, against power state descriptors."""

from __future__ import annotations

from tests.support import make_bench


def test_power_consumption_lists_every_power_state() -> None:
    bench = make_bench()  # of 9 W and of 1 W
    page = bench.do("INQUIRY", evpd=1, page_code=0x8D, allocation_length=255).data_in
    assert page.hex(" ", 4) == "008d0008 00042328 010403e8"
