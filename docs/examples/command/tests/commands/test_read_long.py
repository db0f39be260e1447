"""What READ LONG (16) refuses; what it does is its vector's affair."""

from __future__ import annotations

import pytest

from tests.support import make_bench


@pytest.mark.parametrize("wrong", [{"corrct": 0}, {"byte_transfer_length": 520}, {"lba": 4096}])
def test_read_long_16_refuses_what_it_cannot_do(wrong: dict[str, int]) -> None:
    bench = make_bench()
    fields = {"corrct": 1, "byte_transfer_length": 512, **wrong}
    assert bench.do("READ LONG (16)", **fields).sense is not None
    assert not bench.model.executed
