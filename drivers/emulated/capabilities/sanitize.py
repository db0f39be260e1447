"""Sanitize: all namespaces are erased, whatever becomes of the host meanwhile.

Spec: NVMe Base 2.0c 5.24 (Sanitize), 8.21 (Sanitize Operations), 5.16.1.25 (Sanitize Status log).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from scsi2nvme.drivers.emulated.capabilities.features import Features
from scsi2nvme.drivers.emulated.capabilities.self_test import SelfTest
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Feature,
    Fields,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.model import (
    LBCC,
    SANITIZED,
    SANITIZED_AND_DEALLOCATED,
    CommandFailed,
    invalid_field,
)
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS, SANITIZE_STATUS_LOG
from scsi2nvme.nvme.persistent_events import (
    SANITIZE_COMPLETION,
    SANITIZE_START,
    EventKind,
)
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

_STEPS = 64
_KEPT = "sanitize"
_EXIT_FAILURE_MODE, _BLOCK_ERASE, _OVERWRITE, _CRYPTO_ERASE = 1, 2, 3, 4  # SANACT
_AUSE, _NDAS = 1 << 3, 1 << 9
_NEVER, _DONE, _RUNNING, _FAILED, _DONE_DEALLOCATED = range(5)  # SSTAT
_NO_DEALLOCATE_INHIBITED = 1 << 29
_NOT_MODIFIED_AFTER = 1 << 30  # NODMMAS
_SANICAP = {
    "crypto": 1 << 0,
    "block": 1 << 1,
    "overwrite": 1 << 2,
    "ndi": _NO_DEALLOCATE_INHIBITED,
}
_NEEDED = {_BLOCK_ERASE: 1 << 1, _OVERWRITE: 1 << 2, _CRYPTO_ERASE: 1 << 0}
_CONFIGURATION = 0x17  # the feature: bit 0 NODRM
_NOTHING_ELSE = 2 << 16  # CSE: nothing else may run on any namespace
_NOT_STATED = 0xFFFFFFFF

# What is executed all the same. Spec: NVMe Base 2.0c 8.21.1.
_ALLOWED = frozenset(
    {
        AdminOpcode.DELETE_SQ,
        AdminOpcode.CREATE_SQ,
        AdminOpcode.GET_LOG_PAGE,
        AdminOpcode.DELETE_CQ,
        AdminOpcode.CREATE_CQ,
        AdminOpcode.IDENTIFY,
        AdminOpcode.ABORT,
        AdminOpcode.SET_FEATURES,
        AdminOpcode.GET_FEATURES,
        AdminOpcode.ASYNC_EVENT_REQUEST,
        AdminOpcode.SANITIZE,
    }
)
_ALLOWED_LOGS = frozenset({0x00, 0x01, 0x02, 0x04, 0x05, 0x0C, 0x80, SANITIZE_STATUS_LOG})


def _parse_offered(text: str) -> int:
    names = text.split("+")
    if not set(names) <= _SANICAP.keys() or not {"crypto", "block", "overwrite"} & set(names):
        raise ValueError("is not block, overwrite, crypto, or some of them as block+crypto")
    return sum(_SANICAP[name] for name in set(names))


def _parse_seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and int(text) <= 86400):
        raise ValueError("is no number of seconds up to 86400")
    return float(text)


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 1000):
        raise ValueError("is no number up to 1000")
    return int(text)


OFFERED = Option(
    "sanicap",
    "OPERATIONS",
    "which sanitize operations there are: block, overwrite, crypto, or some of them, as "
    "block+crypto; +ndi: what is sanitized is always deallocated (emulated only; default none)",
    _parse_offered,
    76,
    "sanicap",
    subject="sanitize operations of one's choice",
)
SECONDS = Option(
    "sanitize_s",
    "SECONDS",
    "how long a sanitize operation takes at least (emulated only; default 0)",
    _parse_seconds,
    77,
    "sanitize_s",
    subject="sanitize operations that take as long as one likes",
)
FAILURES = Option(
    "sanitize_fails",
    "N",
    "how many sanitize operations fail, half way, before one succeeds (emulated only; default 0)",
    _parse_count,
    78,
    "sanitize_fails",
    subject="sanitize operations that fail",
)


@dataclass
class _State:
    """What outlives resets and processes."""

    state: int = _NEVER
    cdw10: int = 0
    cdw11: int = 0
    writes: int = -1  # of hosts, when all had been erased; -1: it never was

    @classmethod
    def of(cls, kept: Any, name: str) -> _State:
        """Return what was kept; TransportError if it is none of ours."""
        try:
            state = cls(**kept)
        except TypeError:
            state = cls(-1)
        numbers = all(type(value) is int for value in asdict(state).values())
        words = numbers and max(state.cdw10, state.cdw11) < 1 << 32
        words = words and min(state.cdw10, state.cdw11) >= 0
        if not words or state.state not in range(_DONE_DEALLOCATED + 1):
            raise TransportError(f"{name}: what is kept of sanitize operations is damaged")
        return state


class Sanitizer(Part):
    """Erases in a thread of its own; goes on where a process has ended."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._model, settings = controller.model, controller.settings
        self._offered: int = settings[OFFERED.keyword]
        self._seconds: float = settings[SECONDS.keyword]
        self._failures: int = settings[FAILURES.keyword]
        kept = self._model.state.kept.get(_KEPT, {})
        self._state = _State.of(kept, self._model.image.name)
        if not self._model.state.clean:  # writes may have been forgotten
            self._state.writes = -1
        self._thread = ThreadPoolExecutor(1, "s2n-sanitize")
        self._timer: asyncio.TimerHandle | None = None
        self._step = 0
        self._closed = False
        self._attach()
        self._resumes = self._model.sanitizing and not self._model.image.traceless

    # ---- commands ----

    def check(self, command: Values) -> None:
        """See Part."""
        if self._state.state not in (_RUNNING, _FAILED):
            return
        log = command.opc == AdminOpcode.GET_LOG_PAGE
        if command.opc not in _ALLOWED or (log and command.cdw10 & 0xFF not in _ALLOWED_LOGS):
            raise self._refusal()

    def _refusal(self) -> CommandFailed:
        if self._state.state == _RUNNING:
            return CommandFailed(StatusCode.SANITIZE_IN_PROGRESS, dnr=False)
        return CommandFailed(StatusCode.SANITIZE_FAILED)

    def execute(self, command: Values) -> None:
        """Begin, or leave the failure mode."""
        action, failed = command.cdw10 & 7, self._state.state == _FAILED
        if self._state.state == _RUNNING:
            raise self._refusal()
        if command.cdw10 >> 10 or (action != _EXIT_FAILURE_MODE and not self._has(action)):
            raise invalid_field(40)
        # What failed in restricted completion mode is mended by a restricted one alone.
        restricted = failed and not self._state.cdw10 & _AUSE
        if restricted and (action == _EXIT_FAILURE_MODE or command.cdw10 & _AUSE):
            raise self._refusal()
        if action == _EXIT_FAILURE_MODE:
            if failed:
                self._enter(replace(self._state, state=_DONE))
            return
        inhibited = command.cdw10 & _NDAS and self._offered & _NO_DEALLOCATE_INHIBITED
        if inhibited and not self._controller.part(Features).current(_CONFIGURATION):
            raise invalid_field(41, 1)
        self._check_namespaces()
        if (test := self._controller.part_if_any(SelfTest)) is not None:
            test.sanitized()
        self._enter(_State(_RUNNING, command.cdw10, command.cdw11))
        started = SANITIZE_START.build(
            sanicap=_sanicap(self._controller),
            sani_cdw10=command.cdw10,
            sani_cdw11=command.cdw11,
        )
        self._model.record(EventKind.SANITIZE_START, started)
        self._begin()

    def _has(self, action: int) -> bool:
        return bool(self._offered & _NEEDED.get(action, 0))

    def _check_namespaces(self) -> None:
        for namespace in self._model.state.namespaces:
            if namespace.formatting is not None:
                raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
            if namespace.write_protect:
                raise CommandFailed(StatusCode.NAMESPACE_WRITE_PROTECTED)

    # ---- the operation ----

    def before_posting(self) -> None:
        """See Part: where a process has ended, it goes on with the host's first command."""
        if self._resumes:
            self._resumes = False
            self._begin()

    def _begin(self) -> None:
        self._step = 0
        fails = self._failures > 0
        self._failures -= fails
        erased = None if fails else self._thread.submit(self._erase)
        self._advance(asyncio.get_running_loop(), erased)

    def _erase(self) -> None:
        overwrites = self._state.cdw10 & 7 == _OVERWRITE and self._keeps_pattern
        for namespace in self._model.state.namespaces:
            if overwrites:
                self._model.emulator.overwrite(namespace.nsid, self._state.cdw11)
            else:
                self._model.emulator.erase(namespace.nsid)

    @property
    def _keeps_pattern(self) -> bool:
        inhibited = self._offered & _NO_DEALLOCATE_INHIBITED
        return bool(self._state.cdw10 & _NDAS) and not inhibited

    def _advance(self, loop: asyncio.AbstractEventLoop, erased: Future[None] | None) -> None:
        """Make progress visible; end once time and erasure are over."""
        if erased is None and self._step >= _STEPS // 2:
            self._end(_FAILED)
        elif self._step < _STEPS:
            self._step += 1
            self._timer = loop.call_later(self._seconds / _STEPS, self._advance, loop, erased)
        elif erased is not None:
            erased.add_done_callback(lambda _: loop.call_soon_threadsafe(self._erased, erased))

    def _erased(self, erased: Future[None]) -> None:
        error = erased.exception()
        if error is not None:
            _log.error("Sanitize: %s", error)
            self._end(_FAILED)
        elif self._state.cdw10 & _NDAS and self._offered & _NO_DEALLOCATE_INHIBITED:
            self._end(_DONE_DEALLOCATED)
        else:
            self._end(_DONE)

    def _end(self, state: int) -> None:
        if self._closed:
            return
        self._state.state = state
        if state != _FAILED:
            self._state.writes = self._model.smart().host_writes
        self._attach()
        self._model.state.kept[_KEPT] = asdict(self._state)
        self._model.try_save()
        status = SANITIZE_STATUS.parse(self.status())
        sani_status = int.from_bytes(status.raw[2:4], "little")
        ended = SANITIZE_COMPLETION.build(sani_prog=status.sprog, sani_status=sani_status)
        self._model.record(EventKind.SANITIZE_COMPLETION, ended)
        dealt = state == _DONE_DEALLOCATED
        self._model.notify(SANITIZED_AND_DEALLOCATED if dealt else SANITIZED)

    def _enter(self, state: _State) -> None:
        """Make a state durable, then the namespaces what it says; else all is as before."""
        before, self._state = self._state, state
        self._model.state.kept[_KEPT] = asdict(state)
        try:
            self._model.save()
        except (OSError, TransportError):
            self._state = before
            self._model.state.kept[_KEPT] = asdict(before)
            raise
        self._attach()

    def _attach(self) -> None:
        model, state = self._model, self._state.state
        before = model.sanitizing, model.sanitize_failed
        model.sanitizing, model.sanitize_failed = state == _RUNNING, state == _FAILED
        if before != (model.sanitizing, model.sanitize_failed):
            for namespace in model.state.namespaces:
                model.attach(namespace)

    def close(self) -> None:
        """See Part: what was not finished goes on when the image is next opened."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)

    # ---- the log ----

    def status(self) -> bytes:
        """Return the Sanitize Status log."""
        state, writes = self._state, self._model.smart().host_writes
        running = state.state == _RUNNING
        seconds = int(self._seconds)
        overwrite = state.cdw10 & 7 == _OVERWRITE
        done = state.state in (_DONE, _DONE_DEALLOCATED)
        passes = (state.cdw10 >> 4 & 0xF or 16) if overwrite and done else 0
        return SANITIZE_STATUS.build(
            sprog=min(self._step * 65536 // _STEPS, 0xFFFF) if running else 0xFFFF,
            state=state.state,
            passes=passes,
            global_erased=state.writes == writes,
            cdw10_info=state.cdw10,
            time_over_write=seconds * 16 if self._has(_OVERWRITE) else _NOT_STATED,
            time_block_erase=seconds if self._has(_BLOCK_ERASE) else _NOT_STATED,
            time_crypto_erase=seconds if self._has(_CRYPTO_ERASE) else _NOT_STATED,
            time_over_write_no_dealloc=_NOT_STATED,
            time_block_erase_no_dealloc=_NOT_STATED,
            time_crypto_erase_no_dealloc=_NOT_STATED,
        )


def _sanitize(controller: Controller, command: Values) -> int:
    controller.part(Sanitizer).execute(command)
    return 0


def _sanicap(controller: Controller) -> int:
    offered: int = controller.settings[OFFERED.keyword]
    return offered | _NOT_MODIFIED_AFTER


def _controller(controller: Controller) -> Fields:
    return {"sanicap": _sanicap(controller)}


def _offered(settings: Mapping[str, Any]) -> bool:
    return bool(settings[OFFERED.keyword])


CAPABILITY = Capability(
    "Sanitize",
    commands=(AdminCommand(AdminOpcode.SANITIZE, _sanitize, LBCC | _NOTHING_ELSE),),
    log_pages=(
        LogPage(
            SANITIZE_STATUS_LOG,
            lambda controller: controller.part(Sanitizer).status(),
            controller_only=True,
        ),
    ),
    features=(Feature(_CONFIGURATION, check=lambda _, value: value & 1, saveable=True),),
    controller=_controller,
    options=(OFFERED, SECONDS, FAILURES),
    settings={OFFERED.keyword: 0, SECONDS.keyword: 0.0, FAILURES.keyword: 0},
    start=Sanitizer,
    offered=_offered,
)
