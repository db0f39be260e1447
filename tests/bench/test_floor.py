"""The least that a target costs answers what the loads ask."""

from __future__ import annotations

import ctypes
import os

import pytest

from bench import load, peers

pytestmark = pytest.mark.slow
SIZE_BYTES = 64 << 20
_IO_URING_SETUP = 425  # the same on all architectures


@pytest.mark.parametrize(
    ("operation", "block_bytes", "spins"),
    [("read", 1 << 20, False), ("write", 1 << 20, False), ("write", 4096, True)],
)
def test_the_floor_answers_every_load(operation: str, block_bytes: int, spins: bool) -> None:
    with peers.floor(SIZE_BYTES, spins=spins) as target:
        answers(target, load.Load(operation, "random", 4, 2, block_bytes, 1, SIZE_BYTES))


@pytest.mark.parametrize(
    ("operation", "depth", "sessions", "zero_copy"),
    [("read", 4, 2, False), ("read", 4, 2, True), ("write", 4, 40, False)],
)
def test_the_floor_on_io_uring_answers_every_load(
    operation: str, depth: int, sessions: int, zero_copy: bool
) -> None:
    work = load.Load(operation, "random", depth, sessions, 1 << 20, 1, SIZE_BYTES)
    try:
        with peers.floor_on_ring(SIZE_BYTES, zero_copy=zero_copy) as target:
            answers(target, work)
    except peers.NoRing:
        if not ring_is_refused():
            raise


def ring_is_refused() -> bool:
    """Whether this process may not set up a ring, as in many a container."""
    libc = ctypes.CDLL(None)
    ring = int(libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(120)))
    if ring >= 0:
        os.close(ring)
    return ring < 0


def answers(target: peers.Target, work: load.Load) -> None:
    result = load.run(target.url, work)
    assert result["operations"] > 0
    assert not result["errors"]
