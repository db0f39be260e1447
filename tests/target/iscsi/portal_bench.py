"""The portal over loopback sockets, with the data plane and the task service.

The logical unit is write protected, so that all of its commands take the cold
path and a model of a controller can answer them.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from scsi2nvme.cli.config import portal_address
from scsi2nvme.native.plane import Plane
from scsi2nvme.service import TaskService
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings
from tests.iscsi_client import Initiator, LoginError
from tests.model_controller import ModelController, ModelExecutor
from tests.support import make_lu

DISK = "iqn.2026-11.test:disk"
SECRET = "iqn.2026-11.test:secret"
ALICE = "iqn.2026-11.test:alice"
TEST_UNIT_READY = bytes(6)
INQUIRY = bytes([0x12, 0, 0, 0, 96, 0])
POWER_ON = (6, 0x29, 0x00)
RESET = (6, 0x29, 0x03)
NEXUS_LOSS = (6, 0x29, 0x07)
T = TypeVar("T")


def read10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


class Bench:
    """A portal in a thread of its own; `run` runs a coroutine there."""

    def __init__(self, settings: PortalSettings, addresses: list[str]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.lu = make_lu()
        self.lu.read_only = True
        self.model = ModelController(self.lu.facts)
        chap = ChapAuthentication(
            Credentials("alice", b"alice's own secret"), Credentials("disk", b"the disk's secret")
        )
        self.targets = {
            DISK: TargetNode(DISK, {0: self.lu, 1: self.lu}, alias="a disk"),
            SECRET: TargetNode(SECRET, {0: self.lu}, acl={ALICE: AclEntry(chap, {3: 0})}),
        }
        self.run(self._start(settings, addresses))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _start(self, settings: PortalSettings, addresses: list[str]) -> None:
        self.plane = Plane([min(os.sched_getaffinity(0))])
        self.plane.start()
        self.service = TaskService(self.plane)
        self.service.start()
        _, self.controller = self.service.add_controller(self._overdue, self._overdue)
        self.service.add_unit(self.lu, ModelExecutor(self.model), self.controller)
        self.portal = Portal(self.service, self.targets, settings)
        await self.portal.listen(portal_address(text) for text in addresses)

    async def _overdue(self, qid: int, cid: int, again: bool) -> None:
        raise AssertionError("there are no queues")

    async def _stop(self) -> None:
        await self.portal.close()
        await self.service.stop()
        self.plane.stop()
        self.service.close()
        self.controller.close()
        self.plane.close()

    def close(self) -> None:
        try:
            self.run(self._stop())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.portal.addresses[0].port

    def initiator(self, **options: Any) -> Initiator:
        return Initiator(self.address, **options)

    def sessions(self) -> int:
        async def count() -> int:
            return len(self.portal.sessions)

        return self.run(count())

    def wait_for_the_end(self) -> None:
        """Wait until every session has ended."""

        async def ended() -> None:
            for session in self.portal.sessions:
                await session.ended.wait()

        self.run(ended())


@contextmanager
def serving(
    settings: PortalSettings | None = None, addresses: tuple[str, ...] = ("127.0.0.1:0",)
) -> Iterator[Bench]:
    bench = Bench(settings or PortalSettings(), list(addresses))
    try:
        yield bench
    finally:
        bench.close()


def ready(initiator: Initiator) -> None:
    """Take the unit attention of a new nexus."""
    assert attention(initiator) == POWER_ON
    assert initiator.command(0, TEST_UNIT_READY).status == 0


def attention(initiator: Initiator) -> tuple[int, int, int]:
    result = initiator.command(0, TEST_UNIT_READY)
    assert result.status == 2
    return result.sense_triple


def refused(bench: Bench, target: str, status: int, **options: Any) -> None:
    chap = options.pop("chap", None)
    with bench.initiator(**options) as one:
        with pytest.raises(LoginError) as caught:
            one.login(target, chap=chap)
        assert caught.value.status == status
        assert one.closed_by_target()
