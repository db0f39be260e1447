"""Build and run the load generator `iscsi_load.c`."""

from __future__ import annotations

import fcntl
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).with_name("iscsi_load.c")
_BUILD = Path(__file__).parent.parent / "build"
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")


def program() -> Path:
    """Return the compiled load generator, compiling it if it is stale."""
    _BUILD.mkdir(exist_ok=True)
    binary = _BUILD / "iscsi-load"
    with (_BUILD / "iscsi-load.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists() or binary.stat().st_mtime < _SOURCE.stat().st_mtime:
            command = ["cc", *_FLAGS, str(_SOURCE), "-o", str(binary), "-liscsi"]
            subprocess.run(command, check=True)
    return binary


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

    @property
    def name(self) -> str:
        """A short label."""
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
        ]


def run(url: str, load: Load) -> dict[str, Any]:
    """Run a load to its end and return what it measured; CalledProcessError on errors."""
    command = [str(program()), "--url", url, *load.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
