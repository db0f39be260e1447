"""Signals: which end a program in order, and which mean nothing to it. Spec: signal(7)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from scsi2nvme.cli.printed import drop_output

log = logging.getLogger(__name__)

# What service managers, terminals and people send for that. A terminal that closes sends SIGHUP.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPWR)
# Who started us may have said that these do not count: nohup(1), or a shell without jobs.
_MAY_BE_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# What comes so soon after the first says the same: timeout(1), for one, signals a process, then
# its group.
_ONE_REQUEST_S = 1.0
# Sent by mistake, or to other daemons for what we do not do: they would end us at once.
_MEANINGLESS = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
    signal.SIGIO,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)

T = TypeVar("T")


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal; SIG_IGN programs that we start would keep."""


class Ending:
    """Whether the end was asked for. Whoever asks again ends the process there and then.

    `hung_up`: what SIGHUP calls instead, as daemons do that have a configuration file.
    """

    def __init__(self, hung_up: Callable[[], None] | None = None) -> None:
        self._asked = asyncio.Event()
        self._since = 0.0
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            if number in _MAY_BE_IGNORED and signal.getsignal(number) is signal.SIG_IGN:
                continue
            if number == signal.SIGHUP and hung_up is not None:
                loop.add_signal_handler(number, hung_up)
            else:
                loop.add_signal_handler(number, self._ask, number)
        for meaningless in _MEANINGLESS:
            with contextlib.suppress(OSError):  # valgrind, for one, keeps some to itself
                signal.signal(meaningless, _do_nothing)
                signal.siginterrupt(meaningless, False)

    def _ask(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        if self._asked.is_set() and now - self._since < _ONE_REQUEST_S:
            return
        if self._asked.is_set():
            log.error("ended by a second %s: caches may not have been flushed", number.name)
            os._exit(128 + number)
        self._since = now
        self._asked.set()

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._asked.wait()

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns, or None once the end is asked for, and `work` cancelled."""
        working = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            for task in (working, asked):
                task.cancel()
            await asyncio.wait((working, asked))
        with contextlib.suppress(asyncio.CancelledError):
            return working.result()
        return None


def say(words: str) -> None:
    """Print something that need not be heard: the terminal may be gone."""
    try:
        print(words, flush=True)
    except OSError:
        drop_output()
