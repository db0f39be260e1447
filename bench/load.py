"""Build and run the load generator `iscsi_load.c`."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUILD = Path(__file__).parent.parent / "build"
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
# What the logouts may take.
_GRACE_S = 60


def compiled(*sources: str, libraries: Collection[str] = ()) -> Path:
    """Return the program that some of this directory's sources are, compiled if it is stale."""
    _BUILD.mkdir(exist_ok=True)
    directory = Path(__file__).parent
    paths = [directory / source for source in sources]
    binary = _BUILD / paths[0].stem.replace("_", "-")
    made_of = [*paths, *directory.glob("*.h")]
    with binary.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists() or binary.stat().st_mtime < max(
            path.stat().st_mtime for path in made_of
        ):
            command = ["cc", *_FLAGS, *map(str, paths), "-o", str(binary), *libraries]
            subprocess.run(command, check=True)
    return binary


def program() -> Path:
    """Return the load generator."""
    sources = ("iscsi_load.c", "iscsi_load_cells.c", "iscsi_load_commands.c")
    return compiled(*sources, libraries=("-liscsi",))


@dataclass(frozen=True, slots=True)
class Load:
    """One run's parameters; see `iscsi_load.c`."""

    operation: str = "read"
    pattern: str = "random"
    depth: int = 1
    sessions: int = 1
    block_bytes: int = 4096
    seconds: int = 5
    span_bytes: int = 0
    luns: int = 1
    cdb: bytes = b""  # to be sent instead of reads and writes

    @property
    def name(self) -> str:
        """A short label."""
        if self.cdb:
            return f"{self.cdb.hex()} QD{self.depth} ×{self.sessions}"
        size = f"{self.block_bytes >> 10}k" if self.block_bytes < 1 << 20 else "1M"
        kind = "" if self.pattern == "random" else "seq "
        return f"{kind}{self.operation} {size} QD{self.depth} ×{self.sessions}"

    def arguments(self) -> list[str]:
        """Return the command line options."""
        return [
            *("--operation", self.operation),
            *("--pattern", self.pattern),
            *("--depth", str(self.depth)),
            *("--sessions", str(self.sessions)),
            *("--bytes", str(self.block_bytes)),
            *("--seconds", str(self.seconds)),
            *("--span", str(self.span_bytes)),
            *("--luns", str(self.luns)),
            *(("--cdb", self.cdb.hex()) if self.cdb else ()),
        ]


@contextmanager
def on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Let the processes that are started meanwhile run on these CPUs only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _held(url: str, load: Load, cpus: Collection[int] | None) -> Iterator[subprocess.Popen[str]]:
    command = [str(program()), "--url", url, "--hold", *load.arguments()]
    with on_cpus(cpus or os.sched_getaffinity(0)):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise ConnectionError(f"no session with {url}")
            yield process
            process.communicate(timeout=_GRACE_S)
        finally:
            process.kill()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def run(
    url: str,
    load: Load,
    cpus: Collection[int] | None = None,
    during: AbstractContextManager[object] | None = None,
) -> dict[str, Any]:
    """Run a load to its end, on `cpus` if given, and return what it measured.

    `during` is entered between the logins and the load, and left before the logouts.
    CalledProcessError on errors.
    """
    with _held(url, load, cpus) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with during or nullcontext():
            process.stdin.write("\n")
            process.stdin.flush()
            output = process.stdout.readline()
    result: dict[str, Any] = json.loads(output)
    return result


@contextmanager
def idle_sessions(url: str, count: int) -> Iterator[None]:
    """Keep `count` sessions logged in that do nothing but answer the target."""
    with _held(url, Load(sessions=count), None):
        yield
