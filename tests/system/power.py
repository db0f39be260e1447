"""The machine that tests share."""

from __future__ import annotations

import os
from contextlib import ExitStack

from tests.system.image import KERNEL, images
from tests.system.machine import Machine


class Power:
    """Keeps a machine on; `files` are what every machine of this run boots from."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._machine: Machine | None = None
        self.files = images(os.environ.get("KERNEL", KERNEL))

    def machine(self) -> Machine:
        """Return a machine that is on."""
        if self._machine is None or not self._machine.alive:
            self.off()
            self._machine = self._stack.enter_context(Machine(files=self.files))
        return self._machine

    def off(self) -> None:
        """Switch it off."""
        self._machine = None
        self._stack.close()
