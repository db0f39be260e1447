"""Whether data may stay in the ring's pages, as the kernel's limits and other devices tell."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import cast

import pytest

from scsi2nvme.native.plane import Event, EventType
from scsi2nvme.native.tcmu import PlaneTcmu
from scsi2nvme.target.tcmu.netlink import DeviceEvent, EventKind
from scsi2nvme.target.tcmu.uio import Kernel
from scsi2nvme.target.tcmu.zero_copy import ZeroCopy
from tests.target.tcmu.played_kernel import Bench, run
from tests.waiting import eventually


class RecordingRing:
    """A ring that could do without copying."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self.has_window = True

    def set_in_place(self, allowed: bool) -> None:
        self.said.append(allowed)


def judged(kernel: Kernel, *, wanted: bool = True) -> list[bool]:
    ring = RecordingRing()
    ZeroCopy(kernel, wanted=wanted).judge([cast("PlaneTcmu", ring)])
    return ring.said


@pytest.mark.parametrize(
    ("areas", "limit", "allowed"),
    [
        ((64,), 64, True),
        ((64, 64), 127, False),
        ((1024, 1024), 2048, True),
        ((1024, 64, 1024), 2048, False),
    ],
)
def test_data_stay_in_place_while_pages_do(
    bench: Bench, areas: tuple[int, ...], limit: int, allowed: bool
) -> None:
    bench.kernel.limit(limit)
    for number, area in enumerate(areas):
        bench.kernel.add(number, f"tcm-user/{number}/disk/file/x")
        bench.kernel.area(number, area)
    assert judged(bench.kernel) == [allowed]
    assert judged(bench.kernel, wanted=False) == []


def test_what_cannot_be_read_is_no_permission(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add()
    bench.kernel._parameter("global_max_data_area_mb").unlink()
    assert judged(bench.kernel) == [False]
    assert "zero copy is off: how much memory the rings may take is unknown" in caplog.text


def test_other_devices_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scsi2nvme.target.tcmu.front_end.GONE_SECONDS", 0.0)
    bench.kernel.limit(1024)
    ring = RecordingRing()
    monkeypatch.setattr(PlaneTcmu, "has_window", True)
    monkeypatch.setattr(PlaneTcmu, "set_in_place", lambda _, allowed: ring.set_in_place(allowed))
    other = "tcm-user/1/other/file/x"

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert ring.said == [True, True]
            bench.kernel.add(4, other)
            bench.kernel.area(4, 1025)
            event = DeviceEvent(EventKind.ADDED, other, 4, 78)
            await front_end.handle(event, bench.answers)
            assert ring.said[2:] == [False]
            bench.kernel.remove(4)
            await front_end.handle(replace(event, kind=EventKind.REMOVED), bench.answers)
            await eventually(lambda: len(ring.said) >= 4, "the ring is told again")
            assert ring.said[2:] == [False, True]
            assert bench.answers.statuses == [0]  # none of the other's

    run(work())
    assert caplog.text.count("zero copy is off: the data areas of the kernel's 2 rings") == 1


def test_a_replaced_page_is_a_reason_to_look_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring = RecordingRing()
    monkeypatch.setattr(PlaneTcmu, "has_window", True)
    monkeypatch.setattr(PlaneTcmu, "set_in_place", lambda _, allowed: ring.set_in_place(allowed))

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            bench.kernel.area(3, 2049)
            for number in (errno.ESTALE, errno.ENOSPC):
                no = (None, 0, False, False, 0, 0, 0, 0, 0, b"", b"")
                told = Event(EventType.PAGES, number, 0, *no)
                front_end._ring_told(front_end.devices[3], told)
            assert ring.said[2:] == [False]
            assert front_end.devices[3].ring is not None

    run(work())
    assert "the kernel has replaced pages of its ring" in caplog.text
    assert "dma_entry_limit" in caplog.text
