"""What was set in a controller, so that a reset does not undo it.

A controller level reset returns every feature to its saved or default value, and so does
a disk that was pulled out and put back. Whoever sets one wishes it to hold until it is set
otherwise: what Set Features has done is kept as a list in its order, and bring-up repeats
it before anybody's first command, with one exception: what bring-up sets by itself.

List and controller agree at any time. One Set Features is under way at a time, so that the
order of the list is the controller's. What succeeded is in the list before the next
command is executed; bring-up reads the list several commands after the last completion
was taken. What a reset interrupts is sent again after it (`repeatable`), and until it
has succeeded, what held before holds.

Spec: NVMe Base 2.0c 3.7.2 (controller level reset), 5.27 (Set Features).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import Feature
from scsi2nvme.drivers.nvme.bringup import Clock
from scsi2nvme.drivers.nvme.identify import Execute, displaced
from scsi2nvme.drivers.nvme.retry import MAXIMUM_RETRIES, retry_delay_s
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

_FID = 0xFF
_SAVE = 1 << 31  # CDW10: what is saved needs no saving again
_NAMESPACE_DELETE = 1  # CDW10 of Namespace Management

# Bring-up sets these itself; of a host memory buffer only who lent it can say where it is.
_BRING_UP = frozenset(
    {
        Feature.NUMBER_OF_QUEUES,
        Feature.ASYNC_EVENTS,
        Feature.HOST_MEMORY_BUFFER,
        Feature.HOST_BEHAVIOR,
    }
)

# The bits of CDW11 that say of what a feature is set; others are the value.
_SELECTOR: dict[int, int] = {
    Feature.TEMPERATURE_THRESHOLD: 0x3F << 16,  # which sensor, over or under
    Feature.INTERRUPT_VECTOR: 0xFFFF,
    Feature.READ_RECOVERY_LEVEL: 0xFFFF,  # the NVM set
    Feature.PREDICTABLE_LATENCY: 0xFFFF,
    Feature.PREDICTABLE_LATENCY_WINDOW: 0xFFFF,
    Feature.ENDURANCE_GROUP_EVENTS: 0xFFFF,
    Feature.HOST_IDENTIFIER: 1,  # of 64 bits, of 128
}


@dataclass(frozen=True, slots=True)
class _Key:
    fid: int
    nsid: int
    selector: int


@dataclass(frozen=True, slots=True)
class _Wish:
    """The command that set a feature, and when it did."""

    command: NvmeCommand
    at_s: float


def _sets(command: NvmeCommand) -> bool:
    """Whether a command sets what a reset undoes."""
    opcode = AdminOpcode.SET_FEATURES
    return command.admin and command.opcode == opcode and command.cdw10 & _FID not in _BRING_UP


def _deletes(command: NvmeCommand) -> bool:
    management = AdminOpcode.NAMESPACE_MANAGEMENT
    return command.opcode == management and command.cdw10 & 0xF == _NAMESPACE_DELETE


class Settings:
    """The list. `turn` is held while Set Features is under way."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.turn = asyncio.Lock()
        self._name = name  # of the controller, for people
        self._unset = frozenset[int]()
        self._clock = clock
        self._wishes: dict[_Key, _Wish] = {}

    def concern(self, commands: Iterable[NvmeCommand]) -> bool:
        """Whether one of these commands is for the list."""
        return any(map(_sets, commands))

    def record(self, command: NvmeCommand, completion: Completion) -> None:
        """Keep what a command has set, forget what it has taken away."""
        if completion.status or not command.admin:
            return
        if _sets(command):
            fid = command.cdw10 & _FID
            key = _Key(fid, command.nsid, command.cdw11 & _SELECTOR.get(fid, 0))
            self._wishes.pop(key, None)  # to its place at the end
            kept = replace(command, cdw10=command.cdw10 & ~_SAVE)
            self._wishes[key] = _Wish(kept, self._clock.now())
        elif command.opcode == AdminOpcode.FORMAT_NVM:
            self._forget(command.nsid, Feature.LBA_RANGE_TYPE)  # the blocks are others now
        elif _deletes(command):
            self._forget(command.nsid)

    def follow(self, gone: Iterable[int]) -> None:
        """Forget what was set in namespaces that have gone, or are others by their identifiers."""
        for nsid in gone:
            self._forget(nsid)

    def _forget(self, nsid: int, fid: int | None = None) -> None:
        self._wishes = {
            key: wish
            for key, wish in self._wishes.items()
            if not (key.nsid and nsid in (key.nsid, BROADCAST_NSID) and fid in (key.fid, None))
        }

    async def repeat(
        self,
        execute: Execute,
        old: Mapping[int, NamespaceFacts],
        new: Mapping[int, NamespaceFacts],
    ) -> None:
        """Set everything again that holds for the namespaces that are there now.

        What cannot be set is not tried again after another reset; `take_unset` tells of it.
        May raise ControllerError.
        """
        self.follow(displaced(old, new, blocks=False))
        for key, wish in list(self._wishes.items()):
            if not await self._repeat(execute, key, wish):
                _log.error("%s: feature %#04x cannot be set again", self._name, key.fid)
                del self._wishes[key]
                shared = key.nsid in (0, BROADCAST_NSID)
                self._unset |= new.keys() if shared else {key.nsid} & new.keys()

    def made(self) -> tuple[NvmeCommand, ...]:
        """Return the commands that set again what holds, in their order."""
        return tuple(self._as_of_now(key, wish) for key, wish in self._wishes.items())

    def _as_of_now(self, key: _Key, wish: _Wish) -> NvmeCommand:
        if key.fid != Feature.TIMESTAMP:
            return wish.command
        elapsed_ms = int((self._clock.now() - wish.at_s) * 1000)
        return replace(wish.command, data_out=_later(wish.command.data_out, elapsed_ms))

    def take_unset(self) -> frozenset[int]:
        """Return once the NSIDs of namespaces with a feature that could not be set again.

        A feature of the controller is one of all its namespaces.
        """
        unset, self._unset = self._unset, frozenset()
        return unset

    async def _repeat(self, execute: Execute, key: _Key, wish: _Wish) -> bool:
        command = wish.command
        if len(command.data_out) > PAGE:
            return False  # more than bring-up has memory for
        command = self._as_of_now(key, wish)
        if not (await self._executed(execute, command)).status:
            return True
        # A controller may refuse to set what holds: a write protection until the power goes.
        length = len(command.data_out)
        asked = admin.get_features(
            key.fid, nsid=key.nsid, cdw11=key.selector or command.cdw11, data_in=length
        )
        found = await self._executed(execute, asked)
        if found.status:
            return False
        return found.data == command.data_out if length else found.dw0 == command.cdw11

    async def _executed(self, execute: Execute, command: NvmeCommand) -> Completion:
        """Execute a command, again if the controller is not ready for it yet."""
        completion = await execute(command)
        for _ in range(MAXIMUM_RETRIES):
            delay_s = retry_delay_s(command, completion, ())
            if delay_s is None:
                break
            await self._clock.sleep(delay_s)
            completion = await execute(command)
        return completion


def _later(data: bytes, milliseconds: int) -> bytes:
    """Return a Timestamp structure's data with time added. Spec: NVMe Base 2.0c 5.27.1.11."""
    value = int.from_bytes(data[:6], "little") + milliseconds
    return (value & (1 << 48) - 1).to_bytes(6, "little") + data[6:]
