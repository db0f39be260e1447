"""The emulated controller as a transport: registers, DMA memory, interrupts.

A controller model of our own in this process. Its I/O commands are native
code; its registers and admin commands are Python on the asyncio loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from scsi2nvme.drivers.emulated.admin import AdminQueue
from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capabilities.ana import Access
from scsi2nvme.drivers.emulated.capabilities.health import Health
from scsi2nvme.drivers.emulated.capabilities.namespace_management import CAPACITY, Management
from scsi2nvme.drivers.emulated.capabilities.subsystem import CONTROLLER
from scsi2nvme.drivers.emulated.capabilities.told import told
from scsi2nvme.drivers.emulated.capabilities.zoned import ZoneChanges
from scsi2nvme.drivers.emulated.capability import Tables
from scsi2nvme.drivers.emulated.image import Image
from scsi2nvme.drivers.emulated.image_file import Purpose
from scsi2nvme.drivers.emulated.memory import DmaMemory, UnmappedError
from scsi2nvme.drivers.emulated.model import VERSION, Model
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.scheme import CACHE
from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.fields import Values
from scsi2nvme.native.emulator import EmulatedPort, Emulator
from scsi2nvme.native.transport import Region, Window
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.nvme.registers import (
    ALL_ONES_32,
    ALL_ONES_64,
    AQA,
    CAP,
    CC,
    CSTS,
    NSSR_RESET,
    Register,
    ShutdownStatus,
    decode,
    encode,
    update,
)
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

_REGISTERS_BYTES = 0x1000
_SEVERAL_COMMAND_SETS = 1 << 6  # CAP.CSS
_NVM_COMMAND_SET, _ALL_COMMAND_SETS = 0, 6  # CC.CSS


@dataclass(frozen=True)
class EmulatedOptions:
    """What to emulate.

    `path` None: a disk in memory. `size_bytes` is that of each namespace; an
    existing image decides when it is None, and must agree when it is not; the
    same with `block_bytes`, for a new image 512, and `serial`, which is made up.
    `purpose`: see Image. `settings` are those of the
    capabilities, by keyword; what is missing has its default.
    """

    path: Path | None = None
    size_bytes: int | None = None
    block_bytes: int | None = None
    namespaces: int = 1
    serial: str | None = None
    io_queues: int = 128
    vectors: int = 129
    purpose: Purpose = Purpose.SERVE
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return these options, where those of capabilities stand among the others."""
        own = {row.name for row in fields(cls)}
        settings = {name: value for name, value in options.items() if name not in own}
        return cls(
            **{name: value for name, value in options.items() if name in own}, settings=settings
        )


class EmulatedTransport:
    """A Transport. `emulator` takes faults; `remove` and `fail` are misfortunes of the whole."""

    pci_id = (0, 0)
    parent = ""
    alarms: Mapping[Alarm, int] = MappingProxyType({})

    def __init__(self, options: EmulatedOptions, tables: Tables = TABLES) -> None:
        """Open the image, and be there. TransportError if it cannot be used.

        `tables` are what the controller can do; TypeError for a setting that it has not.
        """
        if unknown := options.settings.keys() - tables.settings:
            raise TypeError(f"there are no settings {', '.join(sorted(unknown))}")
        self.name = f"emulated:{options.path or 'memory'}"
        self.vectors = options.vectors
        settings = {**tables.settings, **options.settings}
        self._image = Image(
            options.path,
            options.size_bytes,
            options.block_bytes,
            options.namespaces,
            options.serial,
            capacity=options.settings.get(CAPACITY.keyword),
            controller=settings[CONTROLLER.keyword],
            purpose=options.purpose,
        )
        self.emulator = Emulator()
        self.port = EmulatedPort(self.emulator)
        self._memory = DmaMemory()
        self._eventfds: dict[int, int] = {}
        self._registers = bytearray(_REGISTERS_BYTES)
        offered = tables.offered(settings)
        self._cap = encode(CAP, **offered.cap | told(options.settings, "cap"))
        try:
            lacking = tables.io_commands.keys() - offered.io_commands.keys()
            self._assemble(options, offered, settings, lacking)
        except BaseException:
            self._image.discard()
            self._release()
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = self._removed = self._closed = self._given_up = False
        self._set_defaults()

    def _assemble(
        self,
        options: EmulatedOptions,
        tables: Tables,
        settings: Mapping[str, Any],
        lacking: Iterable[int],
    ) -> None:
        """Put together what the controller remembers and what executes its admin commands.

        Of I/O commands it refuses those that are `lacking`.
        """
        self._model = Model(self._image, self.emulator, write_cache=settings[CACHE.keyword])
        self._model.pause = self._pause
        for opcode in lacking:
            self.emulator.refuse(opcode)
        self._admin = AdminQueue(
            self._model,
            self._memory,
            tables,
            settings,
            interrupt=self.interrupt,
            signal=self._signal,
            io_queues=options.io_queues,
            vectors=options.vectors,
        )

    # ---- registers ----

    def _set_defaults(self) -> None:
        self._registers[:] = bytes(_REGISTERS_BYTES)
        self._store(Register.CAP, self._cap, 8)
        self._store(Register.VS, VERSION, 4)

    def _load(self, offset: int, size: int) -> int:
        return int.from_bytes(self._registers[offset : offset + size], "little")

    def _store(self, offset: int, value: int, size: int) -> None:
        self._registers[offset : offset + size] = value.to_bytes(size, "little")

    def _read(self, offset: int, size: int) -> int:
        if offset % size or offset < 0:
            raise TransportError(f"{self.name}: misaligned register access at {offset:#x}")
        if offset + size > _REGISTERS_BYTES:
            return 0  # doorbells are not for reading
        return self._load(offset, size)

    def read32(self, offset: int) -> int:
        """Read a 32-bit register; all ones when the controller is gone."""
        return ALL_ONES_32 if self._gone else self._read(offset, 4)

    def read64(self, offset: int) -> int:
        """Read a 64-bit register."""
        return ALL_ONES_64 if self._gone else self._read(offset, 8)

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register; the read-only ones ignore it."""
        if self._gone:
            return
        if offset == Register.CC:
            self._configure(value)
        elif offset in _PLAIN and not self._status.rdy:
            self._store(offset, value, 4)
        elif offset == Register.NSSR and value == NSSR_RESET and decode(CAP, self._cap).nssrs:
            self._disable()
            self._set_defaults()
            self._set_status(nssro=1)
        elif offset == Register.CSTS and decode(CSTS, value).nssro:
            self._set_status(nssro=0)  # it is cleared by writing one

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register."""
        self.write32(offset, value & ALL_ONES_32)
        self.write32(offset + 4, value >> 32)

    @property
    def _status(self) -> Values:
        return decode(CSTS, self._load(Register.CSTS, 4))

    def _set_status(self, **fields: int) -> None:
        csts = self._load(Register.CSTS, 4)
        self._store(Register.CSTS, update(CSTS, csts, **fields), 4)

    def _configure(self, value: int) -> None:
        """CC was written. Spec: NVMe Base 2.0c 3.1.3.5, 3.5, 3.6."""
        before, now = decode(CC, self._load(Register.CC, 4)), decode(CC, value)
        self._store(Register.CC, value, 4)
        if before.en and not now.en:
            self._disable()
        elif now.en and not before.en:
            self._enable(now)
        if now.shn and now.shn != before.shn:
            self._shut_down()

    def _shut_down(self) -> None:
        self._set_status(shst=ShutdownStatus.IN_PROGRESS)
        try:
            self._model.shut_down()
        except (OSError, TransportError) as error:
            _log.error("%s: shutdown: %s", self.name, error)
            self._set_status(cfs=1)
        else:
            self._set_status(shst=ShutdownStatus.COMPLETE)

    def _enable(self, cc: Values) -> None:
        aqa = decode(AQA, self._load(Register.AQA, 4))
        asq, acq = self._load(Register.ASQ, 8), self._load(Register.ACQ, 8)
        queues = aqa.asqs and aqa.acqs and (asq | acq) % PAGE == 0
        if not self._has_command_sets(cc.css) or cc.mps or cc.ams or not queues:
            self._set_status(cfs=1)
            return
        try:
            self._admin.enable(asq, aqa.asqs + 1, acq, aqa.acqs + 1)
        except UnmappedError:
            self._set_status(cfs=1)
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self.emulator.admin_eventfd, self._on_doorbell)
        self._model.started()
        self._set_status(rdy=1)

    def _has_command_sets(self, css: int) -> bool:
        several = decode(CAP, self._cap).css & _SEVERAL_COMMAND_SETS
        return css == _NVM_COMMAND_SET or bool(several and css == _ALL_COMMAND_SETS)

    def _disable(self) -> None:
        self.emulator.disable()
        self._admin.disable()
        self._set_status(rdy=0, cfs=0, shst=ShutdownStatus.NORMAL_OPERATION)

    def _on_doorbell(self) -> None:
        os.eventfd_read(self.emulator.admin_eventfd)
        if not self._gone and not self._status.cfs and not self._status.pp:
            self._admin.process()

    def _pause(self, paused: bool) -> None:
        """Execute nothing any more, or go on. Spec: NVMe Base 2.0c 3.1.3.6 (PP)."""
        self._set_status(pp=paused)
        self.emulator.set_paused(paused)
        if not paused and not self._gone and not self._status.cfs:
            self._admin.process()

    # ---- memory and interrupts ----

    def allocate(self, length: int) -> Region:
        """Return zeroed DMA memory, page aligned, that lives until `close`."""
        region = self._memory.allocate(length)
        self.emulator.add_memory(region)
        return region

    def window(self, length: int) -> Window | None:
        """Return None: only memory from `allocate` can be reached."""
        return None

    def rearm(self) -> None:
        """Its interrupts come again by themselves."""

    def steer(self, cpus: Mapping[int, int]) -> None:
        """Its eventfds are signalled by a thread, which runs where it likes."""

    def interrupt(self, vector: int) -> int:
        """Return the eventfd that `vector` signals."""
        if not 0 <= vector < self.vectors:
            raise TransportError(f"{self.name}: no interrupt vector {vector}")
        if vector not in self._eventfds:
            self._eventfds[vector] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._eventfds[vector]

    def _signal(self, vector: int) -> None:
        os.eventfd_write(self.interrupt(vector), 1)

    # ---- misfortune ----

    def remove(self) -> None:
        """Be gone, as if pulled out: nothing answers, nothing is written any more."""
        self._removed = True
        self._vanish()

    def _vanish(self) -> None:
        self._gone = True
        self.emulator.disable()
        self._admin.disable()

    def insert(self) -> None:
        """Be there again, for whoever takes it back."""
        self._removed = False

    def detach(self, *nsids: int) -> None:
        """Take these namespaces away, give others back that were, and say so."""
        changed = self._model.detached ^ set(nsids)
        self._model.detached = set(nsids)
        for state in self._model.state.namespaces:
            if state.nsid in changed:
                self._model.namespace_changed(state)

    def resize(self, nsid: int, blocks: int) -> None:
        """Have a namespace be of another size, as others may have it; only with a `capacity`."""
        self._admin.part(Management).resize(nsid, blocks)

    def set_ana(self, state: AnaState) -> None:
        """Have its namespaces be reached otherwise, or not at all; only where it has ANA."""
        self._admin.part(Access).set(state)

    def finish_zone(self, nsid: int, lba: int) -> None:
        """Finish the zone that begins with a block, unasked; only where it has zones."""
        self._admin.part(ZoneChanges).finish(nsid, lba)

    def wear_out(self) -> None:
        """Place the medium in read only mode, as a controller does whose spare is used up."""
        self.set_health(read_only=1)

    def set_health(self, **values: int) -> None:
        """Have its health become other than it is: fields as of the option `health`, with `_`."""
        given = {name.replace("_", "-"): value for name, value in values.items()}
        self._admin.part(Health).set(given)

    def fail(self) -> None:
        """Report a fatal error (CSTS.CFS) and stop executing admin commands."""
        self._set_status(cfs=1)

    # ---- life ----

    async def reset(self) -> None:
        """Reset the function (FLR): registers to their defaults, queues gone."""
        if not self._gone:
            self._disable()
            self._set_defaults()

    def cut_off(self) -> None:
        """Touch no memory any more, nor execute what was fetched."""
        self.emulator.disable()
        self._admin.disable()

    async def let_go(self) -> None:
        """Be gone from now on."""
        self._vanish()

    async def take_back(self) -> bool:
        """Be there again, if it was let go and is not pulled out."""
        if not self._gone or self._removed:
            return False
        self._set_defaults()
        self._gone = False
        return True

    def give_up(self) -> None:
        """See Transport: an image that was there stays, and what lay beside it."""
        self._given_up = True

    def close(self) -> None:
        """Let go of the controller. Nothing touches its DMA memory any more."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self.emulator.admin_eventfd)
        if self._given_up:
            self._admin.give_up()
        self._admin.close()
        self.emulator.disable()
        try:
            if self._given_up:
                self._image.discard()
            if not (self._given_up and self._image.made):
                self._model.save()
        finally:
            self._release()

    def _release(self) -> None:
        self.port.close()
        self.emulator.close()
        self._memory.close()
        self._image.close()
        for eventfd in self._eventfds.values():
            os.close(eventfd)
        self._eventfds.clear()


_PLAIN = frozenset({Register.AQA, Register.ASQ, Register.ASQ + 4, Register.ACQ, Register.ACQ + 4})
