"""Device Self-test, and the log of its results. Spec: NVMe Base 2.0c 5.9, 5.16."""

from __future__ import annotations

import asyncio

from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import SELF_TEST_LOG_BYTES, SELF_TEST_RESULT

_STEPS = 20
_SHORT, _EXTENDED, _REFRESH, _ABORT = 1, 2, 3, 0xF
_PASSED, _ABORTED_BY_COMMAND, _ABORTED_BY_RESET, _ABORTED_BY_FORMAT, _SEGMENT_FAILED = 0, 1, 2, 4, 7
_ABORTED_BY_SANITIZE = 9
_MEDIUM_SEGMENT = 1
_RESULTS, _NO_RESULT = 20, bytes([0xF]).ljust(28, b"\0")
_EXTENDED_MINUTES = 1  # EDSTT
_SHORT_SECONDS, _EXTENDED_SECONDS = "short_test_s", "extended_test_s"
_OACS_SELF_TEST = 1 << 4
_ONE_AT_A_TIME, _REFRESHES = 1 << 0, 1 << 1  # DSTO
_MOST_SECONDS = 86400


def _parse_seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_SECONDS):
        raise ValueError(f"is no number of seconds from 1 to {_MOST_SECONDS}")
    return float(text)


REFRESH = Option(
    "refresh_s",
    "SECONDS",
    "emulated only: refresh the medium when it is asked to (Host-Initiated Refresh, which "
    "BACKGROUND CONTROL begins), in so many seconds; it changes nothing (default: it cannot)",
    _parse_seconds,
    79,
    "refresh_s",
    subject="the refresh of a medium",
)


class SelfTest(Part):
    """Device Self-test. A test reads the ends of the namespaces; the rest is waiting."""

    def __init__(self, controller: Controller) -> None:
        self._model, settings = controller.model, controller.settings
        self._seconds: dict[int, float] = {
            _SHORT: settings[_SHORT_SECONDS],
            _EXTENDED: settings[_EXTENDED_SECONDS],
        }
        if settings[REFRESH.keyword] is not None:
            self._seconds[_REFRESH] = settings[REFRESH.keyword]
        self._timer: asyncio.TimerHandle | None = None
        self._nsid = 0
        self.code = 0
        self.percent = 0

    def execute(self, command: Values) -> None:
        """Begin or abort a test."""
        code = command.cdw10 & 0xF
        nsid = 0 if code == _REFRESH else command.nsid
        if nsid:
            self._model.selected(nsid)
        if code == _ABORT:
            self._finish(_ABORTED_BY_COMMAND)
            return
        if code not in self._seconds:
            raise invalid_field(40)
        if self.code:
            raise CommandFailed(StatusCode.SELF_TEST_IN_PROGRESS)
        self.code, self.percent, self._nsid = code, 0, nsid
        self._wait(asyncio.get_running_loop())

    def reset(self) -> None:
        """See Part: it ends a short test, not an extended one."""
        if self.code == _SHORT:
            self._finish(_ABORTED_BY_RESET)

    def formatted(self) -> None:
        """A Format NVM command ends a test that involves namespaces."""
        if self._nsid:
            self._finish(_ABORTED_BY_FORMAT)

    def sanitized(self) -> None:
        """A Sanitize command ends any test."""
        self._finish(_ABORTED_BY_SANITIZE)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._seconds[self.code] / _STEPS, self._advance, loop)

    def _advance(self, loop: asyncio.AbstractEventLoop) -> None:
        self.percent += 100 // _STEPS
        if self.percent < 100:
            self._wait(loop)
        else:
            bad = self._first_unreadable()
            self._finish(_PASSED if bad is None else _SEGMENT_FAILED, bad)

    def _first_unreadable(self) -> tuple[int, int] | None:
        """Read the first and last block of what is tested; return NSID and LBA of a bad one."""
        model = self._model
        for namespace in model.selected(self._nsid) if self._nsid else []:
            length = namespace.block_bytes
            for lba in (0, model.blocks(namespace) - 1):
                at = model.image.offset(namespace.nsid) + lba * length
                if not model.image.is_readable(at, length):
                    return namespace.nsid, lba
        return None

    def _finish(self, result: int, bad: tuple[int, int] | None = None) -> None:
        if not self.code:
            return
        if self._timer is not None:
            self._timer.cancel()
        model = self._model
        nsid, flba = bad or (self._nsid, 0)
        entry = SELF_TEST_RESULT.build(
            result=result,
            code=self.code,
            segment=_MEDIUM_SEGMENT if bad else 0,
            valid=(1 if nsid else 0) | (2 if bad else 0),
            poh=int(model.smart().power_on_seconds) // 3600,
            nsid=nsid,
            flba=flba,
        )
        model.state.self_tests = [entry.hex(), *model.state.self_tests][:_RESULTS]
        self.code = self.percent = self._nsid = 0
        model.try_save()

    def close(self) -> None:
        """See Part: the end of the process is that of the power."""
        if self._timer is not None:
            self._timer.cancel()


def _execute(controller: Controller, command: Values) -> int:
    controller.part(SelfTest).execute(command)
    return 0


def _results(controller: Controller) -> bytes:
    test, done = controller.part(SelfTest), controller.model.state.self_tests
    head = bytes([test.code, test.percent, 0, 0])
    results = b"".join(bytes.fromhex(result) for result in done)
    data = head + results + _NO_RESULT * (_RESULTS - len(done))
    assert len(data) == SELF_TEST_LOG_BYTES
    return data


def _controller(controller: Controller) -> Fields:
    refreshes = controller.settings[REFRESH.keyword] is not None
    dsto = _ONE_AT_A_TIME | (_REFRESHES if refreshes else 0)
    return {"oacs": _OACS_SELF_TEST, "edstt": _EXTENDED_MINUTES, "dsto": dsto}


CAPABILITY = Capability(
    "Device Self-test",
    commands=(AdminCommand(AdminOpcode.DEVICE_SELF_TEST, _execute),),
    log_pages=(LogPage(0x06, _results),),
    controller=_controller,
    settings={
        _SHORT_SECONDS: 2.0,
        _EXTENDED_SECONDS: _EXTENDED_MINUTES * 60.0,
        REFRESH.keyword: None,
    },
    options=(REFRESH,),
    start=SelfTest,
    lackable="self-test",
)
