"""File descriptors: as many as the system lets us have, and how many of them peers may take."""

from __future__ import annotations

import contextlib
import os
import resource

WANTED = 65536
# For what the daemon itself opens while it runs: state files, the control socket's clients,
# devices of the kernel's target, a controller that comes back.
RESERVE = 128


def raise_limit() -> None:
    """Have the soft limit as high as the hard one allows, or as we want it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Where a system call filter forbids it, we make do with what there is.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_peers() -> int:
    """Return how many descriptors are left for connections once the reserve is set aside."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = WANTED if soft == resource.RLIM_INFINITY else soft
    return limit - len(os.listdir("/proc/self/fd")) - RESERVE
