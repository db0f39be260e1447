"""What all bindings share: errors become exceptions here, and handles are freed once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scsi2nvme._dataplane import ffi


def check(result: int, what: str) -> int:
    """Turn a negative errno into OSError; this is the only place that does."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


class Handle:
    """The owner of one native handle, `native`, until it is closed.

    `free` gives `native` back. OSError (ENOMEM, for `what`) if it is NULL to begin with. C is
    given nothing of what is closed: whoever uses it gets RuntimeError.
    """

    native: Any

    def __init__(self, free: Callable[[Any], None], native: Any, what: str) -> None:
        if native == ffi.NULL:
            check(-errno.ENOMEM, what)
        self.native = native
        self._free = free

    if not TYPE_CHECKING:  # it would stand for any attribute

        def __getattr__(self, name: str) -> Any:
            if name == "native":
                raise RuntimeError(f"{type(self).__name__} is closed")
            return object.__getattribute__(self, name)

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return "native" not in self.__dict__

    def close(self) -> None:
        """Free it, after all that refers to it; twice is harmless."""
        if not self.closed:
            native = self.native
            del self.native
            self._free(native)
