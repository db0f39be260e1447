"""What the daemon tells while it runs: where to, in which form, and how much of it.

Spec: sd-daemon(3) (priorities), systemd.exec(5) ($JOURNAL_STREAM).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import TextIO, get_args

from scsi2nvme.api.configuration import LogFormat, LogLevel
from scsi2nvme.records import dataclass

# Of one kind of message, in so many seconds: peers cause some of them, as often as they like.
SECONDS = 10.0
LINES = 30
LINES_ON_ONE = 10  # about the same thing, by its first argument
SUBJECT_CHARACTERS = 256

_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class JournalFormatter(logging.Formatter):
    """Begins every line with its priority; the journal knows the time and the program."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's lines."""
        priority = _PRIORITIES.get(record.levelno, _PRIORITIES[logging.INFO])
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


@dataclass(slots=True)
class _Kind:
    """What was written from one place in the code since `since`, and what was not.

    `example` is the first of those that were left out.
    """

    since: float
    lines: int = 0
    of_subject: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    example: logging.LogRecord | None = None


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes messages, but not too many of a kind; then how many it has left out.

    `clock` is in seconds; `after` calls a function when so many seconds have passed.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        after: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__(stream)
        self._clock = clock
        self._after = after if after is not None else _after
        self._kinds: dict[tuple[str, int], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        now = self._clock()
        place = (record.pathname, record.lineno)
        kind = self._kinds.get(place)
        if kind is None or now - kind.since >= SECONDS:
            self._conclude(kind)
            kind = self._kinds[place] = _Kind(now)
        first = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        subject = str(first)[:SUBJECT_CHARACTERS]
        if kind.lines < LINES and kind.of_subject[subject] < LINES_ON_ONE:
            kind.lines += 1
            kind.of_subject[subject] += 1
            super().emit(record)
            return
        if kind.example is None:
            kind.example = record
            self._after(kind.since + SECONDS - now, partial(self._expire, kind))
        kind.left_out += 1

    def close(self) -> None:
        """Tell what was left out, and write no more."""
        for kind in self._kinds.values():
            self._expire(kind)
        super().close()

    def _expire(self, kind: _Kind) -> None:
        self.acquire()
        try:
            self._conclude(kind)
        finally:
            self.release()

    def _conclude(self, kind: _Kind | None) -> None:
        if kind is None or kind.example is None or not kind.left_out:
            return
        told = logging.makeLogRecord(vars(kind.example) | {"exc_info": None, "exc_text": None})
        told.msg, told.args = "%d more like this: %s", (kind.left_out, kind.example.getMessage())
        kind.left_out = 0
        super().emit(told)


def _after(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


class JsonFormatter(logging.Formatter):
    """Makes of each message an object in a line, for programs: time, level, module, message."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal  # gets it, and wants the priority in front

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        from datetime import UTC, datetime

        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._journal else ""
        return priority + json.dumps(told)


def configure(level: LogLevel, form: LogFormat = "text") -> None:
    """Write messages of `level` and above to standard error, for whoever reads it."""
    handler = BoundedHandler(sys.stderr)
    journal = _to_journal()
    text = JournalFormatter() if journal else _plain()
    handler.setFormatter(JsonFormatter(journal=journal) if form == "json" else text)
    logging.basicConfig(handlers=[handler], level=level.upper())


def set_level(level: LogLevel) -> None:
    """Write messages of `level` and above from now on."""
    logging.getLogger().setLevel(level.upper())


def level() -> LogLevel:
    """Return the least important level of which messages are written."""
    name = logging.getLevelName(logging.getLogger().level).lower()
    return next(each for each in get_args(LogLevel) if each == name)


def _plain() -> logging.Formatter:
    return logging.Formatter(
        "%(asctime)s.%(msecs)03d scsi2nvme: %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S"
    )


def _to_journal() -> bool:
    """Whether standard error is the journal's: the variable alone is inherited by anybody."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
