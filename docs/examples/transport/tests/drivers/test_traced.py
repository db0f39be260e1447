"""The traced transport brings a controller up, and says how."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from scsi2nvme.cli.controllers import open_controller
from scsi2nvme.cli.spec import parse


async def bring_up(path: Path) -> int:
    controller = await open_controller(
        parse(f"traced:{path},size=1M"), io_queues=0, pool_bytes=1 << 20
    )
    try:
        return len(controller.namespaces)
    finally:
        await controller.close()


def test_bring_up_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert asyncio.run(bring_up(tmp_path / "disk.img")) == 1
    told = {message.rsplit(" ", 1)[0] for message in caplog.messages}
    assert {"read CAP", "write AQA", "write ASQ", "write CC", "read CSTS"} <= told
