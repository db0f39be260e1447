"""What all bindings share: errors become exceptions here, and handles are freed once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from scsi2nvme._dataplane import ffi


def check(result: int, what: str) -> int:
    """Turn a negative errno into OSError; this is the only place that does."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


class Handle:
    """The owner of one native handle, which is NULL once it is closed.

    `free` gives `native` back. OSError (ENOMEM, for `what`) if it is NULL to begin with.
    """

    def __init__(self, free: Callable[[Any], None], native: Any, what: str) -> None:
        if native == ffi.NULL:
            check(-errno.ENOMEM, what)
        self.native = native
        self._free = free

    def close(self) -> None:
        """Free it, after all that refers to it; twice is harmless."""
        if self.native != ffi.NULL:
            self._free(self.native)
            self.native = ffi.NULL
