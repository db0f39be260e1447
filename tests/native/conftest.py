"""Memory for queue pairs that no controller serves."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator

import pytest

from scsi2nvme.native.transport import Region
from tests.native import PAGE


@pytest.fixture
def memory() -> Iterator[Region]:
    with mmap.mmap(-1, 16 * PAGE) as buffer:
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        yield Region(address, 1 << 40, 16 * PAGE)
