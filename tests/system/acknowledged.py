"""Write at random, remember what was acknowledged, and hold the disk to it.

`python3 -m tests.system.acknowledged DISK COUNT` works on a disk until SIGTERM, reads back
everything that it has written, and prints what it met as JSON; its status is 1 if anything
was lost. COUNT is a file that tells how many commands have succeeded so far.
"""

from __future__ import annotations

import argparse
import errno
import json
import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BLOCK, SECTOR = 4096, 512
MOST = 16  # blocks of one command: about every other is large enough to stay in place
_STAMP = struct.Struct("<QQ")  # block number, version
_COUNT_S = 0.1
_ENDING = {signal.SIGTERM}
_PAUSE_S = 0.05  # after an error


def stamped(block: int, version: int) -> bytes:
    """Return what a block holds."""
    return _STAMP.pack(block, version) * (BLOCK // _STAMP.size)


class Lost(Exception):
    """A block does not hold what it must."""


class Writer(threading.Thread):
    """Works on blocks of its own, one command after the other, until `stop` is set.

    `versions` are those that each block may have: one, unless a write of it failed.
    """

    def __init__(self, disk: str, first: int, blocks: int, seed: int, flags: int) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.done = self.failed = 0
        self.longest_s = 0.0
        self.errors: set[int] = set()
        self.lost: Exception | None = None
        self._file = os.open(disk, os.O_RDWR | os.O_DIRECT | flags)
        self._first, self._blocks = first, blocks
        self._random = random.Random(seed)
        self._buffer = memoryview(mmap.mmap(-1, MOST * BLOCK))
        self._versions: dict[int, set[int]] = {}
        self._version = seed << 24  # unlike any that an earlier run has left

    def run(self) -> None:
        """Work, then read everything back."""
        try:
            while not self.stop.is_set():
                count = self._random.randint(1, MOST)
                block = self._first + self._random.randrange(self._blocks - count + 1)
                if self._random.random() < 0.6:
                    self._write(block, count)
                else:
                    self._read(block, count)
            for block in range(self._first, self._first + self._blocks, MOST):
                count = min(MOST, self._first + self._blocks - block)
                owed = not self._versions.keys().isdisjoint(range(block, block + count))
                if owed and not self._read(block, count):
                    raise Lost(f"blocks from {block} on cannot be read")
        except Exception as error:
            self.lost = error

    def _write(self, block: int, count: int) -> None:
        self._version += 1
        data = self._buffer[: count * BLOCK]
        for index in range(count):
            data[index * BLOCK : (index + 1) * BLOCK] = stamped(block + index, self._version)
        acknowledged = self._timed(os.pwritev, block, data)
        for number in range(block, block + count):
            if acknowledged:
                self._versions[number] = {self._version}
            elif number in self._versions:  # else nothing is owed yet
                self._versions[number].add(self._version)

    def _read(self, block: int, count: int) -> bool:
        data = self._buffer[: count * BLOCK]
        if not self._timed(os.preadv, block, data):
            return False
        for index in range(count):
            if (number := block + index) in self._versions:
                self._check(number, bytes(data[index * BLOCK : (index + 1) * BLOCK]))
        return True

    def _check(self, block: int, data: bytes) -> None:
        allowed = self._versions[block]
        if len(allowed) == 1 and data == stamped(block, *allowed):
            return
        sectors = [data[at : at + SECTOR] for at in range(0, BLOCK, SECTOR)]
        possible = [stamped(block, version)[:SECTOR] for version in allowed]
        for index, sector in enumerate(sectors):
            if sector not in possible:
                found = _STAMP.unpack_from(sector)
                raise Lost(f"block {block} sector {index}: {found}, not of {sorted(allowed)}")
        if len(allowed) == 1:
            raise Lost(f"block {block}: torn")

    def _timed(self, move: Callable[..., int], block: int, data: memoryview) -> bool:
        start = time.monotonic()
        try:
            moved = move(self._file, [data], block * BLOCK)
        except OSError as error:
            self.failed += 1
            self.errors.add(error.errno or 0)
            time.sleep(_PAUSE_S)
            return False
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - start)
        if moved != len(data):
            raise Lost(f"block {block}: {moved} of {len(data)} bytes moved")
        self.done += 1
        return True


def work(writers: Sequence[Writer], count: Path) -> None:
    """Let them work until SIGTERM, or until one of them has lost something."""
    # Waited for, not handled: a handler that sets an event waits for the event's lock for good if
    # the signal comes while the thread that it interrupts has that, to look at the event.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    for writer in writers:
        writer.start()
    temporary = count.with_suffix(".new")
    going = True
    while going and all(writer.lost is None for writer in writers):
        temporary.write_text(f"{sum(writer.done for writer in writers)}\n")
        temporary.rename(count)
        going = signal.sigtimedwait(_ENDING, _COUNT_S) is None
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join()


def outcome(writers: Sequence[Writer]) -> dict[str, Any]:
    """Return what they met."""
    errors = set().union(*(writer.errors for writer in writers))
    return {
        "done": sum(writer.done for writer in writers),
        "failed": sum(writer.failed for writer in writers),
        "errors": sorted(errno.errorcode.get(number, str(number)) for number in errors),
        "longest_s": round(max(writer.longest_s for writer in writers), 1),
        "lost": [repr(writer.lost) for writer in writers if writer.lost is not None],
    }


def main() -> int:
    """Work on a disk until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("disk")
    parser.add_argument("count", type=Path)
    parser.add_argument("--blocks", type=int, default=8192, help="of 4096 bytes, from the first")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    share = arguments.blocks // arguments.threads
    writers = [
        # Every other one wants what is acknowledged to be durable as well.
        Writer(
            arguments.disk,
            number * share,
            share,
            arguments.seed + number,
            os.O_DSYNC if number % 2 else 0,
        )
        for number in range(arguments.threads)
    ]
    work(writers, arguments.count)
    met = {"disk": arguments.disk, "seed": arguments.seed, **outcome(writers)}
    print(json.dumps(met), flush=True)
    return 1 if met["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
