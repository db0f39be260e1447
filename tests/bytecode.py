"""What Python compiles the program to, kept for the programs that are tested.

An editable install reads it where it is, but never writes it: each program that a test starts would
compile everything anew, which takes longer than all else of its start.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("scsi2nvme", "target", "drivers", "fuzz")


def keep(root: Path = ROOT) -> None:
    """Compile what has changed since it was compiled.

    Python holds what is kept against the source's content: what tests plant there counts at once.
    """
    for folder in FOLDERS:
        for source in (root / folder).rglob("*.py"):
            kept = Path(importlib.util.cache_from_source(str(source)))
            if not kept.exists() or kept.stat().st_mtime_ns < source.stat().st_mtime_ns:
                py_compile.compile(
                    str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
                )


def is_wanted() -> bool:
    """Whether this process is the first of a run, and an editable install is in use."""
    return not {"PYTEST_XDIST_WORKER", "MESONPY_EDITABLE_SKIP"} & os.environ.keys()
