"""The disks that the daemon serves in these tests, on every kind of controller."""

from __future__ import annotations

from pathlib import Path

KINDS = ("emulated", "qemu")
MIB = 1 << 20


def spec(kind: str, directory: Path, *, size_mib: int = 64, **options: object) -> str:
    """Return the SPEC of a disk whose image lies in `directory`."""
    # What metadata hold is nothing that the emulated controller keeps in a file.
    memory = kind == "emulated" and "metadata" in options
    words = [f"{kind}:{'memory' if memory else directory / 'disk.img'}", f"size={size_mib}M"]
    return ",".join([*words, *(f"{name}={value}" for name, value in options.items())])
