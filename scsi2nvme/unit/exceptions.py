"""Informational exceptions: what there is to be told of a logical unit's health, and how.

Mode page 1Ch says how. What begins is reported once, or as often as REPORT COUNT says, at
intervals of INTERVAL TIMER, as long as it goes on: by a unit attention (MRIE 2h), or by the next
command that ends well (3h to 5h). Spec: SPC-4 7.5.11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Protocol

from scsi2nvme.fields import Values
from scsi2nvme.scsi.sense import (
    INFORMATIONAL_CACHE_NOW_VOLATILE,
    INFORMATIONAL_FAILURE_PREDICTED,
    INFORMATIONAL_FALSE_FAILURE_PREDICTED,
    INFORMATIONAL_HARDWARE_IMPENDING_FAILURE,
    INFORMATIONAL_SPARE_AREA_EXHAUSTION,
    INFORMATIONAL_TEMPERATURE_EXCEEDED,
    SenseCode,
    SenseKey,
)
from scsi2nvme.unit.mode_pages.error_recovery import READ_WRITE_ERROR_RECOVERY
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from scsi2nvme.unit.mode_parameters import ModeParameters

# Critical warning bits, the gravest first. Spec: NVMe Base 2.0 figure 208.
_CRITICAL_WARNINGS = (
    (1 << 3, INFORMATIONAL_FAILURE_PREDICTED),  # the medium is in read only mode
    (1 << 2, INFORMATIONAL_HARDWARE_IMPENDING_FAILURE),
    (1 << 0, INFORMATIONAL_SPARE_AREA_EXHAUSTION),
    (1 << 4, INFORMATIONAL_CACHE_NOW_VOLATILE),
    (1 << 1, INFORMATIONAL_TEMPERATURE_EXCEEDED),
)
_WARNING_ASC = 0x0B
_ONCE = (0, 0xFFFFFFFF)  # INTERVAL TIMER: vendor specific, here no second report
_INTERVAL_S = 0.1


class Method(IntEnum):
    """MRIE. Spec: SPC-4 table 453."""

    NONE = 0
    UNIT_ATTENTION = 2
    RECOVERED_IF_ALLOWED = 3
    RECOVERED = 4
    NO_SENSE = 5
    ON_REQUEST = 6


class Timer(Protocol):
    """What will happen later, unless it is cancelled."""

    def cancel(self) -> None:
        """See to it that it does not happen."""


def _never(delay_s: float, what: Callable[[], None]) -> Timer | None:
    """Have nothing happen later: there is no clock."""
    return None


class InformationalExceptions:
    """Those of one logical unit.

    `attend` establishes a unit attention for all nexuses; `changed` is called when the next
    command may have to report something, or has to no longer. `later` calls something after so
    many seconds.
    """

    def __init__(
        self,
        mode: ModeParameters,
        attend: Callable[[SenseCode], None],
        changed: Callable[[], None],
    ) -> None:
        self.later: Callable[[float, Callable[[], None]], Timer | None] = _never
        self._mode = mode
        self._attend = attend
        self._changed = changed
        self.warnings = 0  # bits of the critical warning that go on
        self._due: list[SenseCode] = []  # what commands are to report
        self._timers: dict[SenseCode, Timer] = {}

    def told(self, critical_warning: int) -> SenseCode | None:
        """Return the gravest of what page 1Ch lets be told, None if there is nothing."""
        return next(iter(self._told(critical_warning)), None)

    @property
    def on_request(self) -> bool:
        """Whether REQUEST SENSE tells of it."""
        return bool(self._control.mrie == Method.ON_REQUEST)

    def _told(self, critical_warning: int) -> list[SenseCode]:
        """DEXCPT is of failures that are predicted, EWASC of warnings.

        Without a method to report them these bits are ignored, as TEST is: what there is is logged.
        Spec: SBC-4 6.5.8; SPC-4 7.5.11.
        """
        control = self._control
        if control.mrie == Method.NONE:
            return [code for bit, code in _CRITICAL_WARNINGS if critical_warning & bit]
        if control.test:  # which there is not with DEXCPT
            return [INFORMATIONAL_FALSE_FAILURE_PREDICTED]
        return [
            code
            for bit, code in _CRITICAL_WARNINGS
            if critical_warning & bit
            and (control.ewasc if code.asc == _WARNING_ASC else not control.dexcpt)
        ]

    @property
    def _control(self) -> Values:
        return self._mode.page(INFORMATIONAL_EXCEPTIONS_CONTROL)

    def observe(self, critical_warning: int) -> None:
        """The controller warns of this now: report what is new."""
        before, self.warnings = self._told(self.warnings), critical_warning
        now = self._told(critical_warning)
        for code in set(self._timers) - set(now):
            self._timers.pop(code).cancel()
        for code in now:
            if code not in before:
                self._report(code, 1)

    def select(self) -> None:
        """Page 1Ch may be another: report what goes on as it says now."""
        self.reset()
        for code in self._told(self.warnings):
            self._report(code, 1)

    def reset(self) -> None:
        """Have nothing reported that waits for it."""
        self.stop()
        if self._due:
            self._due.clear()
            self._changed()

    def stop(self) -> None:
        """Have nothing happen later any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @property
    def due(self) -> bool:
        """Whether the next command that ends well has something to report."""
        return bool(self._due)

    def take(self) -> SenseCode | None:
        """Return what a command that has ended well reports, and clear it."""
        if not self._due:
            return None
        code = self._due.pop(0)
        self._changed()
        return code

    def _report(self, code: SenseCode, times: int) -> None:
        control = self._control
        self._timers.pop(code, None)
        method = control.mrie
        if method == Method.UNIT_ATTENTION:
            self._attend(replace(code, key=SenseKey.UNIT_ATTENTION))
        elif method == Method.NO_SENSE:
            self._let_report(code)
        elif method == Method.RECOVERED or (
            method == Method.RECOVERED_IF_ALLOWED
            and self._mode.field(READ_WRITE_ERROR_RECOVERY, "per")
        ):
            self._let_report(replace(code, key=SenseKey.RECOVERED_ERROR))
        elif method != Method.RECOVERED_IF_ALLOWED:
            return
        again = control.interval_timer not in _ONCE
        if again and (not control.report_count or times < control.report_count):
            timer = self.later(
                control.interval_timer * _INTERVAL_S, lambda: self._report(code, times + 1)
            )
            if timer is not None:
                self._timers[code] = timer

    def _let_report(self, code: SenseCode) -> None:
        if code not in self._due:
            self._due.append(code)
            self._changed()
