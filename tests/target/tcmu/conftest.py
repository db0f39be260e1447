"""A played kernel with a front end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.tcmu.played_kernel import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for ring in bench.kernel.rings.values():
        ring.close()
