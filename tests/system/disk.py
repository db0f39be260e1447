"""Making of disk images."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build/system"


class BuildError(Exception):
    """An image could not be built; the message says why."""


def digest(*parts: bytes) -> str:
    """Return a name for this content."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]


def run(*command: str | Path, **arguments: object) -> str:
    """Run a command; returns what it prints, BuildError shows it if the command fails."""
    result = subprocess.run(  # type: ignore[call-overload]
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **arguments
    )
    if result.returncode:
        words = " ".join(map(str, command))
        raise BuildError(f"{words}: exit status {result.returncode}\n{result.stdout}")
    return str(result.stdout)


def make_disk(disk: Path, tree: Path, size: str) -> None:
    """Write a tree into a new ext4 image, the owner of everything as in the tree."""
    command = ("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk, size)
    run(*command, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
