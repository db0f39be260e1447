"""Coroutines that run in the background."""

from __future__ import annotations

import asyncio
import logging

import pytest

from scsi2nvme.background import Background


def test_what_fails_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    async def main() -> None:
        background = Background("disk 7")
        background.spawn(fail())
        await background.wait()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    (record,) = caplog.records
    assert record.getMessage() == "disk 7"
    assert "a bug" in caplog.text


def test_wait_waits_for_what_is_started_meanwhile() -> None:
    ended: list[str] = []

    async def main() -> None:
        background = Background()

        async def second() -> None:
            await asyncio.sleep(0)
            ended.append("second")

        async def first() -> None:
            background.spawn(second())

        background.spawn(first())
        await background.wait()

    asyncio.run(main())
    assert ended == ["second"]


def test_what_is_cancelled_has_ended_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        background = Background()
        task = background.spawn(asyncio.Event().wait())  # type: ignore[arg-type]
        await background.cancel()
        assert task.cancelled()

    asyncio.run(main())
    assert not caplog.records
