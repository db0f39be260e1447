"""Memory that is lent to a controller which has little of its own (Host Memory Buffer).

It is the controller's from Set Features until it has given it back, or a reset has ended: until
then nobody here touches it. A reset leaves it to us, as it was; the controller is told then that
it gets the same again (MR), so that it finds what it kept there. One that is refused what it
had, or whose device was away, gets it as if it were new. Without it, or with less, a controller
works as well, only slower, so nothing here keeps it from coming up.

It is one piece of the device's addresses. Nothing of ours is in it, and it lives, and stays
mapped, until the device is let go of for good.

Spec: NVMe Base 2.0c 5.27.1.10 (feature 0Dh), 8.9 (Host Memory Buffer).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.admin import Feature
from scsi2nvme.drivers.nvme.setup import SetUp
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import describe
from scsi2nvme.nvme.structures import HOST_MEMORY_DESCRIPTOR

_log = logging.getLogger(__name__)

_ENABLE, _RETURNED = 1, 2  # EHM, MR
_UNIT = 4096  # of what Identify tells


def _set(enable: int, memory: Region | None = None, descriptors: int = 0) -> NvmeCommand:
    """Return the Set Features command of this feature."""
    return NvmeCommand(
        AdminOpcode.SET_FEATURES,
        cdw10=Feature.HOST_MEMORY_BUFFER,
        cdw11=enable,
        cdw12=memory.length // PAGE if memory else 0,
        cdw13=descriptors & 0xFFFFFFFF,
        cdw14=descriptors >> 32,
        cdw15=1 if memory else 0,
        admin=True,
    )


class HostMemory:
    """What one controller is lent, `limit_bytes` at most; `lent_bytes` is what it has now."""

    def __init__(self, name: str, allocate: Callable[[int], Region], limit_bytes: int) -> None:
        self.lent_bytes = 0
        self._name = name
        self._allocate = allocate
        self._limit_bytes = limit_bytes
        self._memory: Region | None = None
        self._descriptors = 0  # the address of their list
        self._known = False  # to the controller, which may look for what it left there
        self._told: set[str] = set()

    async def lend(self, setup: SetUp, identity: Values) -> None:
        """Give a controller that was reset what it wants, or had before.

        May raise ControllerError; UnansweredError as `SetUp` says.
        """
        self.lent_bytes = 0
        memory = self._wanted(identity)
        if memory is None:
            return
        for enable in (_ENABLE | _RETURNED, _ENABLE) if self._known else (_ENABLE,):
            completion = await setup.execute(_set(enable, memory, self._descriptors))
            if not completion.status:
                self._known = True
                self.lent_bytes = memory.length
                self._tell(logging.INFO, f"is lent {_mib(memory.length)} of memory")
                return
        self._known = False
        self._tell(logging.WARNING, f"does not take memory: {describe(completion.status)}")

    async def take_back(self, setup: SetUp) -> None:
        """Have the controller use it no more, before it ends. May raise ControllerError."""
        if self.lent_bytes and await setup.accept(_set(0)):
            self.lent_bytes = 0

    def forget(self) -> None:
        """The device was away: it knows nothing of what it had."""
        self._known = False

    def _wanted(self, identity: Values) -> Region | None:
        """Return memory for a controller with this Identify data, None if there is none for it."""
        preferred, least = identity.hmpre * _UNIT, identity.hmmin * _UNIT
        if not preferred or not self._limit_bytes:
            return None
        least = max(least, identity.hmminds * _UNIT, PAGE)
        if self._memory is None:
            size = min(preferred, self._limit_bytes // PAGE * PAGE)
            if size < least:
                self._tell(logging.WARNING, f"wants {_mib(least)} of memory; hmb= does not let it")
                return None
            self._memory = self._take(dict.fromkeys((size, least)))
        if self._memory is None or self._memory.length < least:
            return None  # the latter after new firmware, which works without
        return self._memory

    def _take(self, sizes: dict[int, None]) -> Region | None:
        """Allocate memory of the first of these sizes that is to be had, with its descriptor."""
        for size in sizes:
            try:
                region = self._allocate(size + PAGE)
            except TransportError as error:
                self._tell(logging.WARNING, f"gets no {_mib(size)} of memory: {error}")
                continue
            memory, descriptors = region.slice(0, size), region.slice(size, PAGE)
            row = HOST_MEMORY_DESCRIPTOR.build(badd=memory.iova, bsize=size // PAGE)
            descriptors.view()[: len(row)] = row
            self._descriptors = descriptors.iova
            return memory
        self._limit_bytes = 0  # it is not tried again at each reset
        return None

    def _tell(self, level: int, what: str) -> None:
        """Say something once; resets need not repeat it."""
        if what not in self._told:
            self._told.add(what)
            _log.log(level, "%s: %s (host memory buffer)", self._name, what)


def _mib(length: int) -> str:
    return f"{length / (1 << 20):g} MiB"
