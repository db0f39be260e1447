"""The least that a target costs answers what the loads ask."""

from __future__ import annotations

import pytest

from bench import load, peers

SIZE_BYTES = 64 << 20


@pytest.mark.parametrize(
    ("operation", "block_bytes", "spins"),
    [("read", 1 << 20, False), ("write", 1 << 20, False), ("write", 4096, True)],
)
def test_the_floor_answers_every_load(operation: str, block_bytes: int, spins: bool) -> None:
    work = load.Load(operation, "random", 4, 2, block_bytes, 1, SIZE_BYTES)
    with peers.floor(SIZE_BYTES, spins=spins) as target:
        result = load.run(target.url, work)
    assert result["operations"] > 0
    assert not result["errors"]
