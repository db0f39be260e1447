"""What the emulated controller does over time: Format NVM and Device Self-test."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from scsi2nvme.drivers.emulated.identify import EXTENDED_TEST_MINUTES
from scsi2nvme.drivers.emulated.image import BLOCK_BYTES, NamespaceState
from scsi2nvme.drivers.emulated.model import CommandFailed, Model, invalid_field
from scsi2nvme.fields import Values
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import SELF_TEST_RESULT

_log = logging.getLogger(__name__)

_STEPS = 20
SHORT, EXTENDED, ABORT = 1, 2, 0xF
_PASSED, _ABORTED_BY_COMMAND, _ABORTED_BY_RESET, _ABORTED_BY_FORMAT, _SEGMENT_FAILED = 0, 1, 2, 4, 7
_MEDIUM_SEGMENT = 1

Done = Callable[[StatusCode], None]


class Formatter:
    """Format NVM: erases in a thread of its own, over at least `seconds`."""

    def __init__(self, model: Model, seconds: float) -> None:
        self._model = model
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, "s2n-format")
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self, command: Values, done: Done) -> None:
        """Begin; `done` is called with the command's status when all is formatted."""
        model, cdw10 = self._model, command.cdw10
        namespaces = model.selected(command.nsid)
        lbaf = cdw10 & 0xF | cdw10 >> 8 & 0x30
        if lbaf >= len(BLOCK_BYTES) or cdw10 >> 4 & 0xF:  # no metadata, no protection
            raise CommandFailed(StatusCode.INVALID_FORMAT, 40)
        if cdw10 >> 9 & 7 > 1:  # no cryptographic erase
            raise invalid_field(41, 1)
        if any(namespace.write_protect for namespace in namespaces):
            raise CommandFailed(StatusCode.NAMESPACE_WRITE_PROTECTED)
        if any(namespace.formatting is not None for namespace in model.state.namespaces):
            raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
        for namespace in namespaces:
            namespace.formatting = lbaf
            model.remaining[namespace.nsid] = 100
            model.attach(namespace)
        model.save()
        loop = asyncio.get_running_loop()
        erased = self._thread.submit(self._erase, [namespace.nsid for namespace in namespaces])
        self._advance(loop, namespaces, erased, 0, done)

    def _erase(self, nsids: list[int]) -> None:
        for nsid in nsids:
            self._model.emulator.erase(nsid)

    def _advance(
        self,
        loop: asyncio.AbstractEventLoop,
        namespaces: list[NamespaceState],
        erased: Future[None],
        step: int,
        done: Done,
    ) -> None:
        """Make progress visible; end once time and erasure are over."""
        if step < _STEPS:
            for namespace in namespaces:
                self._model.remaining[namespace.nsid] = 100 - 100 * step // _STEPS
            self._timer = loop.call_later(
                self._seconds / _STEPS, self._advance, loop, namespaces, erased, step + 1, done
            )
        else:
            erased.add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._end, namespaces, erased, done)
            )

    def _end(self, namespaces: list[NamespaceState], erased: Future[None], done: Done) -> None:
        if self._closed:
            return
        error = erased.exception()
        if error is not None:
            _log.error("Format NVM: %s", error)
            for namespace in namespaces:
                namespace.formatting = BLOCK_BYTES.index(namespace.block_bytes)
        for namespace in namespaces:
            self._model.end_format(namespace)
            self._model.namespace_changed(namespace)
        saved = self._model.try_save()
        done(saved if error is None else StatusCode.INTERNAL_ERROR)

    def close(self) -> None:
        """Stop; what was not finished is, when the image is next opened."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)


class SelfTest:
    """Device Self-test. A test reads the ends of the namespaces; the rest is waiting."""

    def __init__(self, model: Model, short_s: float, extended_s: float | None) -> None:
        self._model = model
        extended_s = EXTENDED_TEST_MINUTES * 60 if extended_s is None else extended_s
        self._seconds = {SHORT: short_s, EXTENDED: extended_s}
        self._timer: asyncio.TimerHandle | None = None
        self._nsid = 0
        self.code = 0
        self.percent = 0

    def execute(self, command: Values) -> None:
        """Begin or abort a test."""
        code = command.cdw10 & 0xF
        if command.nsid:
            self._model.selected(command.nsid)
        if code == ABORT:
            self._finish(_ABORTED_BY_COMMAND)
            return
        if code not in self._seconds:
            raise invalid_field(40)
        if self.code:
            raise CommandFailed(StatusCode.SELF_TEST_IN_PROGRESS)
        self.code, self.percent, self._nsid = code, 0, command.nsid
        self._wait(asyncio.get_running_loop())

    def reset(self) -> None:
        """A controller level reset ends a short test, not an extended one."""
        if self.code == SHORT:
            self._finish(_ABORTED_BY_RESET)

    def formatted(self) -> None:
        """A Format NVM command ends a test that involves namespaces."""
        if self._nsid:
            self._finish(_ABORTED_BY_FORMAT)

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
                try:
                    data = os.pread(model.image.fd, length, at)
                except OSError:
                    return namespace.nsid, lba
                if len(data) != length:
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
        model.state.self_tests = [entry.hex(), *model.state.self_tests][:20]
        self.code = self.percent = self._nsid = 0
        model.try_save()

    def close(self) -> None:
        """Stop: the end of the process is that of the power."""
        if self._timer is not None:
            self._timer.cancel()
