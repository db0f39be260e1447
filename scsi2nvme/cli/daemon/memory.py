"""Memory: how much the daemon takes at most, and how many connections that allows."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MIB = 1 << 20
PROGRAM_BYTES = 40 * MIB
POOL_BYTES = 16 * MIB  # buffer memory of a reactor on a controller
CONTROL_BYTES = 10 * MIB  # and that of the engine's commands (the driver's `BOUNCE_BYTES`)
# What initiators' commands take of the heap in all (heap.h), and twice that in the engine's hands.
COMMANDS_BYTES = 3 * 128 * MIB
# A connection with its session: pings that are not taken, requests that wait for their turn or for
# us, and what is received (iscsi.h) among it.
CONNECTION_BYTES = 5 * MIB // 4
SHARE = 2  # the machine has others to serve with half of its memory


def buffers(reactors: int, controllers: int) -> int:
    """Return how much memory is for the data of commands, which controllers reach."""
    return controllers * (reactors * POOL_BYTES + CONTROL_BYTES)


def bound(buffer_bytes: int, connections: int) -> int:
    """Return how much the daemon takes at most, given its buffers for controllers."""
    return PROGRAM_BYTES + buffer_bytes + COMMANDS_BYTES + connections * CONNECTION_BYTES


def for_peers(buffer_bytes: int) -> int:
    """Return how many connections are within `bound`, for what memory there is."""
    return (available() - bound(buffer_bytes, 0)) // CONNECTION_BYTES


def available(cgroups: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> int:
    """Return how many bytes we may take: half of the machine's, or what our unit is granted.

    `own` is the control group, below `cgroups`; by default that of this process.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE
    path = _control_group() if own is None else own
    group = cgroups / path.lstrip("/")
    for each in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):
            there = min(there, int((each / "memory.max").read_text()))
    return there


def _control_group() -> str:
    """Return the path of our control group in the unified hierarchy (cgroups(7))."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                return path
    return "/"
