"""What is kept of a controller that failed, and of a daemon that did: dumps in the state directory.

A dump is a folder of `dumps/`, by its number: `dump.json` says what failed, `queues.trace` has the
last commands and completions of its queue pairs, `log-LL.bin` a log page. Nobody but the daemon's
user may read them: commands and telemetry tell of data. While the daemon runs, each controller has
a trace in the folder `traces`; one that is there when a daemon starts was left by one that crashed.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import CQE, CQE_BYTES, SQE, SQE_BYTES
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json

DUMPS = "dumps"
_MEMORY = Path("/dev/shm")
DESCRIPTION, QUEUES = "dump.json", "queues.trace"
MOST_DESCRIPTION_BYTES = 32 << 20  # of hundreds of queues that were full
_MAGIC = b"s2ntrace"
_VERSION = 1

TRACE_HEADER = Structure(
    "Trace Header",
    4096,
    (
        Field("magic", 0, 0, 64),
        Field("version", 8, 0, 32),
        Field("queues", 12, 0, 32, "how many follow"),
        Field("entries", 16, 0, 32, "of commands, and of completions, of each queue"),
        Field("queue_bytes", 20, 0, 32, "of each queue"),
        Field("pid", 24, 0, 32, "of the daemon"),
        Field("wall_ms", 32, 0, 64, "since 1970, when it began"),
        Field("monotonic_ms", 40, 0, 64, "by the clock of the commands, then"),
        Field("controller", 64, 0, 8 * 1024, "its SPEC, UTF-8, NUL padded"),
    ),
    order="little",
    spec="ours",
)
_QUEUE = struct.Struct("<IIHH52x")  # placed, completed, QID, depth
_BEHIND_MS = 60_000
_MOST_QUEUES, _MOST_ENTRIES = 1024, 4096


def traces(state_dir: Path) -> Path:
    """Return the folder of a daemon's traces, which need not be there.

    It lies in memory, by the state directory's name, where that can be: a store to a page of a
    disk's file waits while the kernel writes that back, and with it all that its reactor serves.
    """
    own = _MEMORY / f"scsi2nvme-{os.geteuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            own.mkdir(mode=0o700)
        found = own.lstat()
    except OSError:
        return state_dir / "traces"
    # Anybody may make a folder of that name.
    if not S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return state_dir / "traces"
    return own / sha256(os.fsencode(state_dir.resolve())).hexdigest()[:32]


def leave(traces: Path) -> None:
    """Remove a folder of traces, and what was made to hold it, where nothing is in them."""
    for each in (traces, traces.parent) if traces.parent.parent == _MEMORY else (traces,):
        with contextlib.suppress(OSError):
            each.rmdir()


@dataclass(frozen=True, slots=True)
class Traced:
    """A command that was placed, or a completion, of a queue pair: which it was, from 0 on."""

    number: int
    raw: bytes
    at_ms: int | None  # since 1970


@dataclass(frozen=True, slots=True)
class QueueTrace:
    """The last commands and completions of a queue pair, the oldest first."""

    qid: int
    depth: int
    commands: tuple[Traced, ...]
    completions: tuple[Traced, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a trace holds."""

    controller: str
    pid: int
    began_ms: int
    queues: tuple[QueueTrace, ...]


def trace_header(controller: str, queues: int, entries: int, queue_bytes: int) -> bytes:
    """Return what a trace begins with."""
    return TRACE_HEADER.build(
        magic=_MAGIC,
        version=_VERSION,
        queues=queues,
        entries=entries,
        queue_bytes=queue_bytes,
        pid=os.getpid(),
        wall_ms=int(time.time() * 1000),
        monotonic_ms=int(time.monotonic() * 1000),
        controller=controller.encode()[:1024],
    )


def read_trace(raw: bytes) -> Trace:
    """Return what a trace holds; ValueError if it is none. Nothing of it is taken on trust."""
    if len(raw) < TRACE_HEADER.size:
        raise ValueError("it is too short")
    header = TRACE_HEADER.parse(raw)
    if raw[:8] != _MAGIC or header.version != _VERSION:
        raise ValueError("it is none of this version")
    least = _QUEUE.size + header.entries * (SQE_BYTES + CQE_BYTES + 4)
    if not 0 < header.entries <= _MOST_ENTRIES or header.queue_bytes < least:
        raise ValueError("its queues have no such size")
    if header.queues > _MOST_QUEUES:
        raise ValueError("it has too many queues")
    queues = []
    for index in range(header.queues):
        start = TRACE_HEADER.size + index * header.queue_bytes
        part = raw[start : start + header.queue_bytes]
        if len(part) < header.queue_bytes:
            raise ValueError("it is too short")
        offset_ms = header.wall_ms - header.monotonic_ms
        queues.append(_queue(part, header.entries, header.monotonic_ms, offset_ms))
    name = header.bytes("controller").rstrip(b"\0").decode(errors="replace")
    return Trace(name, header.pid, header.wall_ms, tuple(queues))


def _queue(part: bytes, entries: int, since_ms: int, offset_ms: int) -> QueueTrace:
    placed, completed, qid, depth = _QUEUE.unpack_from(part)
    sqes = _QUEUE.size
    cqes = sqes + entries * SQE_BYTES
    times = struct.unpack_from(f"<{entries}I", part, cqes + entries * CQE_BYTES)

    def taken(count: int, at: int, size: int) -> Iterator[tuple[int, bytes]]:
        for number in range(max(0, count - entries), count):
            place = at + number % entries * size
            yield number, part[place : place + size]

    def when(number: int) -> int:
        """Return a time whose lower 32 bits are known, by a clock that is some ms behind."""
        later_ms = (int(times[number % entries]) - since_ms + _BEHIND_MS) % (1 << 32)
        return since_ms - _BEHIND_MS + later_ms + offset_ms

    return QueueTrace(
        qid,
        depth,
        tuple(Traced(n, raw, when(n)) for n, raw in taken(placed, sqes, SQE_BYTES)),
        tuple(Traced(n, raw, None) for n, raw in taken(completed, cqes, CQE_BYTES)),
    )


def as_json(trace: Trace) -> dict[str, Any]:
    """Return a trace with its entries' fields by name."""
    return {
        "controller": trace.controller,
        "pid": trace.pid,
        "queues": [
            {
                "qid": queue.qid,
                "depth": queue.depth,
                "commands": [
                    {"number": each.number, "at_ms": each.at_ms, **SQE.parse(each.raw)}
                    for each in queue.commands
                ],
                "completions": [
                    {"number": each.number, **CQE.parse(each.raw)} for each in queue.completions
                ],
            }
            for queue in trace.queues
        ],
    }


@dataclass(frozen=True, slots=True)
class Dump:
    """A dump: its number, where it is, and what `dump.json` says."""

    number: int
    path: Path
    description: Mapping[str, Any]

    @property
    def files(self) -> dict[str, int]:
        """Its files' sizes, by their names."""
        found = {each.name: each.stat().st_size for each in self.path.iterdir() if each.is_file()}
        return dict(sorted(found.items()))


class DumpStore:
    """The dumps of a state directory, of which the latest `most` are kept."""

    def __init__(self, state_dir: Path, most: int | None = None) -> None:
        self.path = state_dir / DUMPS
        self._most = most

    def all(self) -> list[Dump]:
        """Return those that are there, the oldest first; OperationError if they cannot be read."""
        return [self._dump(number) for number in self._numbers()]

    def one(self, number: int) -> Dump:
        """Return a dump; OperationError if there is no such."""
        numbers = self._numbers()
        if number not in numbers:
            known = ", ".join(map(str, numbers)) or "none"
            raise OperationError(f"there is no dump {number} in {self.path}; there are: {known}")
        return self._dump(number)

    def remove(self, number: int) -> None:
        """Remove a dump; OperationError as of `one`."""
        _remove(self.one(number).path)

    def add(self, files: Mapping[str, bytes], **about: Any) -> Path:
        """Write a new dump, and forget the oldest; returns its folder.

        OSError if it cannot be written: nothing of it is left then, and no other is forgotten.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        numbers = self._numbers()
        path = self.path / str(max(numbers, default=0) + 1)
        path.mkdir(mode=0o700)
        try:
            for name, content in files.items():
                write(path / name, content)
            write(path / DESCRIPTION, json.dumps(about).encode())
        except OSError:
            _remove(path)
            raise
        for number in numbers[: max(0, len(numbers) + 1 - (self._most or 1))]:
            _remove(self.path / str(number))
        return path

    def _numbers(self) -> list[int]:
        try:
            names = [each.name for each in self.path.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OperationError(f"{self.path}: {error.strerror}") from None
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def _dump(self, number: int) -> Dump:
        path = self.path / str(number)
        try:
            with (path / DESCRIPTION).open("rb") as file:
                described = parse_json(file.read(MOST_DESCRIPTION_BYTES))
        except (OSError, ValueError) as error:
            described = {"reason": f"{DESCRIPTION} cannot be read: {error}"}
        return Dump(number, path, described if isinstance(described, dict) else {})


def _remove(folder: Path) -> None:
    import shutil  # loads three compressors, which the daemon need not wait for

    shutil.rmtree(folder, ignore_errors=True)


def write(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read; OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
