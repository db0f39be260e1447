"""The commands that the driver, the command line, tools and tests send, over `execute`.

A command has one form here: who needs another one adds it. Spec: NVMe Base 2.0c 5,
NVM Command Set 1.0c 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError, StatusError
from scsi2nvme.drivers.nvme.identify import maximum_transfer_bytes
from scsi2nvme.drivers.nvme.retry import LOST
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY, SMART_LOG

_LPA_OFFSETS = 1 << 2
_BROADCAST_FLUSH = 3  # VWC bits 2:1


class Executing(Protocol):
    """What commands need of the controller that executes them."""

    @property
    def gone(self) -> str:
        """What to tell of a command that ended with LOST."""

    @property
    def identity(self) -> Values:
        """Identify Controller."""

    @property
    def namespaces(self) -> Mapping[int, NamespaceFacts]:
        """The active namespaces, by NSID."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """Execute commands side by side."""


class Commands:
    """One command per method; it returns once the command has ended.

    Each raises StatusError if the controller refuses, ControllerGoneError if it
    is dead, ControllerError if it is closed.
    """

    def __init__(self, controller: Executing) -> None:
        self._controller = controller

    async def succeed(self, command: NvmeCommand) -> Completion:
        """Execute any command, as long as it succeeds."""
        (completion,) = await self._controller.execute(command)
        if completion.status == LOST:
            raise ControllerGoneError(self._controller.gone)
        if completion.status:
            raise StatusError(command, completion)
        return completion

    async def identify(self, cns: int, nsid: int = 0, *, csi: int = 0, cntid: int = 0) -> bytes:
        """Return the 4096 bytes of an Identify data structure. Spec: NVMe Base 2.0c 5.17."""
        return (await self.succeed(admin.identify(cns, nsid, csi=csi, cntid=cntid))).data

    async def get_log(
        self, lid: int, nsid: int, length: int, *, retain: bool = True, lsp: int = 0
    ) -> bytes:
        """Return the first `length` bytes of a log page, in several commands if it must be.

        Unless `retain`, its asynchronous event is acknowledged, by the last of them.
        ControllerError if the controller has no offsets (LPA) and `length` needs them.
        Spec: NVMe Base 2.0c 5.16.
        """
        step = maximum_transfer_bytes(self._controller.identity)
        if length > step and not self._controller.identity.lpa & _LPA_OFFSETS:
            raise ControllerError(f"log {lid:#04x}: {length} bytes, at most {step}")
        data = b""
        while len(data) < length:
            wanted = min(-(-(length - len(data)) // 4) * 4, step)
            more = len(data) + wanted < length
            command = get_log_page(
                lid, nsid, wanted, offset=len(data), retain=retain or more, lsp=lsp
            )
            data += (await self.succeed(command)).data
        return data[:length]

    async def smart_log(self) -> Values:
        """Return SMART / Health Information of the controller."""
        return SMART_LOG.parse(await self.get_log(LogPage.SMART, BROADCAST_NSID, SMART_LOG.size))

    @property
    def error_log_entries(self) -> int:
        """How many entries the error log has, in use or not: ELPE is 0's based."""
        return int(self._controller.identity.elpe) + 1

    async def error_log(self) -> list[Values]:
        """Return the error log's entries that are in use and can be read, the newest first."""
        size = ERROR_LOG_ENTRY.size
        length = self.error_log_entries * size
        if not self._controller.identity.lpa & _LPA_OFFSETS:  # the newest come first
            length = min(length, maximum_transfer_bytes(self._controller.identity))
        raw = await self.get_log(LogPage.ERROR, BROADCAST_NSID, length)
        entries = [ERROR_LOG_ENTRY.parse(raw[at : at + size]) for at in range(0, length, size)]
        return [entry for entry in entries if entry.error_count]

    async def get_feature(
        self, fid: int, *, nsid: int = 0, select: int = 0, cdw11: int = 0, data_in: int = 0
    ) -> Completion:
        """Get a feature: its value is `dw0`, or the `data_in` bytes of `data`."""
        return await self.succeed(
            admin.get_features(fid, nsid=nsid, select=select, cdw11=cdw11, data_in=data_in)
        )

    async def set_feature(
        self, fid: int, cdw11: int = 0, *, nsid: int = 0, save: bool = False, data_out: bytes = b""
    ) -> Completion:
        """Set a feature. A reset undoes what is not saved."""
        return await self.succeed(
            admin.set_features(fid, cdw11, nsid=nsid, save=save, data_out=data_out)
        )

    async def flush(self) -> None:
        """Make durable what may be in a volatile write cache."""
        vwc = self._controller.identity.vwc
        if not vwc & 1:
            return
        everything = vwc >> 1 & 3 == _BROADCAST_FLUSH
        for nsid in [BROADCAST_NSID] if everything else list(self._controller.namespaces):
            await self.succeed(NvmeCommand(Opcode.FLUSH, nsid))
