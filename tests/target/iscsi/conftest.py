"""A portal that the tests of a module share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from scsi2nvme.target.iscsi.portal import Portal
from tests.target.iscsi.portal_bench import Bench, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with serving() as bench:
        yield bench


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """The module's bench, without sessions and with nobody remembered."""
    shared.lu.unit_attentions.clear()
    yield shared
    shared.run(_kill_all(shared.portal))


async def _kill_all(portal: Portal) -> None:
    await asyncio.gather(*(session.kill() for session in portal.sessions))
