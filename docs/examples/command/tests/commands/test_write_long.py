"""What WRITE LONG (16) refuses; what it does is its vector's affair."""

from __future__ import annotations

import pytest

from tests.support import make_bench


@pytest.mark.parametrize("fields", [{}, {"wr_uncor": 1, "pblock": 1}, {"wr_uncor": 1, "lba": 4096}])
def test_write_long_16_refuses_what_it_cannot_do(fields: dict[str, int]) -> None:
    bench = make_bench()
    assert bench.do("WRITE LONG (16)", **fields).sense is not None
    assert not bench.model.executed


def test_write_long_16_needs_the_controllers_command() -> None:
    assert make_bench(controller={"oncs": 0}).do("WRITE LONG (16)", wr_uncor=1).sense is not None
