"""How far something has come that takes long: a line of the terminal, while somebody looks."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from scsi2nvme.cli.printed import Printed

_FIRST_S = 1.0  # what is done by then needs no line
_EVERY_S = 0.5
_ERASE = "\r\033[K"  # Spec: ECMA-48 8.3.41 (EL)


class Progress:
    """Tells on standard error, if that is a terminal, how long `what` has taken, and how far it is.

    A context manager; the line is gone in its end. A thread writes it: who works may be blocked.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        chosen = sys.stderr if stream is None else stream
        self._stream = chosen.plain if isinstance(chosen, Printed) else chosen
        self._what = what
        self._fraction: float | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def at(self, fraction: float) -> None:
        """Note how much is done: 0 nothing, 1 all."""
        self._fraction = min(max(fraction, 0.0), 1.0)

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _tell(self) -> None:
        begun = time.monotonic()
        wait_s = _FIRST_S
        told = False
        while not self._ended.wait(wait_s):
            self._stream.write(f"{_ERASE}{self._line(time.monotonic() - begun)}")
            self._stream.flush()
            wait_s, told = _EVERY_S, True
        if told:
            self._stream.write(_ERASE)
            self._stream.flush()

    def _line(self, seconds: float) -> str:
        minutes, rest = divmod(int(seconds), 60)
        line = f"{self._what}: {minutes}:{rest:02}"
        return line if self._fraction is None else f"{line}, {100 * self._fraction:.0f} % done"
