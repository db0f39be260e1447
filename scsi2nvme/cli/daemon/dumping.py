"""Dumps of controllers that have to be reset, and of the daemon before, if that crashed.

Nothing of this keeps a controller from being brought back for longer than `ASKING_S`. What the host
knows is copied while the queues are paused, and written when the controller is back, or dead. Logs
are asked for before that only where it says that it is well; else, and what took too long, then.
Of one controller there is a dump a minute at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import time
from pathlib import Path
from typing import Any

from scsi2nvme.background import Background
from scsi2nvme.cli import dumps
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.happenings import tell
from scsi2nvme.native.nvme import TRACE_BYTES, TRACE_ENTRIES, QueueState
from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.log_structures import (
    PERSISTENT_EVENT_HEADER,
    PERSISTENT_EVENT_LOG,
    TELEMETRY_CONTROLLER,
    TELEMETRY_HEADER,
    TELEMETRY_HOST,
)
from scsi2nvme.nvme.persistent_events import Action
from scsi2nvme.nvme.registers import ALL_ONES_32, CSTS, Register, decode
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY, SMART_LOG, SQE

ASKING_S = 0.25  # that asking for logs may keep a controller from being reset
AFTERWARDS_S = 30.0  # that it may take when the controller is back
EVERY_S = 60.0  # a dump of one controller at most
MOST_LOG_BYTES = 4 << 20  # of a log
_PIECE = 4096
_DWORD = 4
_BLOCK = 512
_LPA_TELEMETRY, _LPA_PERSISTENT = 1 << 3, 1 << 4
_NOT_FAILED = ("asked for",)  # why somebody resets a controller that is well

_log = logging.getLogger(__name__)


class Dumping:
    """Makes dumps, of which `most` are kept; none for 0."""

    def __init__(self, state_dir: Path, most: int) -> None:
        self._state_dir = state_dir
        self._traces = dumps.traces(state_dir)
        self._store = dumps.DumpStore(state_dir, most)
        self._most = most
        self._background = Background()
        self._recorded: dict[Controller, _TraceFile] = {}

    def take_over(self) -> None:
        """Make dumps of what a daemon has left that did not end in order."""
        if not self._most:
            return
        try:
            left = sorted(self._traces.glob("*.trace")) if self._traces.is_dir() else []
            for path in left:
                self._take_over(path)
        except OSError as error:
            _log.warning("what the daemon before has left cannot be kept: %s", error.strerror)

    def _take_over(self, path: Path) -> None:
        try:
            raw = path.read_bytes()
            trace = dumps.read_trace(raw)
        except ValueError as error:
            _log.warning("%s is no trace: %s", path, error)
            path.unlink()
            return
        if not any(queue.commands for queue in trace.queues):
            path.unlink()
            return
        reason = f"the daemon (process {trace.pid}) did not end in order"
        about = {"reason": reason, "controller": trace.controller, "at_s": time.time()}
        folder = self._store.add({dumps.QUEUES: raw}, **about, crash=True)
        path.unlink()
        self._tell(trace.controller, reason, folder)

    def _tell(self, controller: str, reason: str, folder: Path) -> None:
        text = "controller %s: %s: its state is kept as dump %s, see: scsi2nvme dumps show %s"
        told = (controller, reason, folder.name, folder.name)
        tell(_log, logging.WARNING, "dump", text, *told, controller=controller, path=str(folder))

    def follow(self, controller: Controller, number: int) -> None:
        """Record a controller's commands until `forget`, and make a dump when it fails."""
        if not self._most:
            return
        trace = self._trace(controller, number)
        if trace is not None:
            self._recorded[controller] = trace
        controller.witness_by(_Witness(self, controller, trace))

    def forget(self, controller: Controller) -> None:
        """A controller was closed in order."""
        if (trace := self._recorded.pop(controller, None)) is not None:
            trace.end()

    def _trace(self, controller: Controller, number: int) -> _TraceFile | None:
        try:
            dumps.traces(self._state_dir)  # another daemon that has ended may have left it
            self._traces.mkdir(mode=0o700, exist_ok=True)
            return _TraceFile(self._traces / f"{number}.trace", controller)
        except OSError as error:
            _log.warning("%s: commands are not recorded: %s", controller.name, error.strerror)
            return None

    def make(self, controller: str, files: dict[str, bytes], about: dict[str, Any]) -> Path | None:
        """Write a dump; returns its folder, None if that is impossible, which is told."""
        try:
            folder = self._store.add(files, controller=controller, **about)
        except OSError as error:
            _log.error("controller %s: no dump can be made: %s", controller, error.strerror)
            return None
        self._tell(controller, str(about["reason"]), folder)
        return folder

    def later(self, work: Any) -> None:
        """Run a coroutine beside the rest."""
        self._background.spawn(work)

    async def close(self) -> None:
        """End what goes on; all controllers were closed."""
        await self._background.cancel()
        for controller in list(self._recorded):
            self.forget(controller)
        dumps.leave(self._traces)


class _TraceFile:
    """A file into which a controller's queue pairs write; OSError if there is no room for it."""

    def __init__(self, path: Path, controller: Controller) -> None:
        self._path = path
        pairs = controller.pairs()
        length = dumps.TRACE_HEADER.size + len(pairs) * TRACE_BYTES
        path.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, length)  # a full disk is told now, or never
            self.memory = mmap.mmap(file.fileno(), length)
        header = dumps.trace_header(controller.known_as, len(pairs), TRACE_ENTRIES, TRACE_BYTES)
        self.memory[: len(header)] = header
        whole = memoryview(self.memory)
        for index, pair in enumerate(pairs):
            start = len(header) + index * TRACE_BYTES
            pair.trace(whole[start : start + TRACE_BYTES])

    def end(self) -> None:
        """Keep nothing: the controller was closed, and its queue pairs with it."""
        self._path.unlink(missing_ok=True)


class _Witness:
    """What one controller was doing when it has to be reset; see `recovery.Witness`."""

    def __init__(self, dumping: Dumping, controller: Controller, trace: _TraceFile | None) -> None:
        self._dumping = dumping
        self._controller = controller
        self._trace = trace
        self._last = -EVERY_S
        self._failure: dict[str, Any] | None = None
        self._files: dict[str, bytes] = {}
        self._queues: list[QueueState] | None = None

    async def before_reset(self, reason: str) -> None:
        """Note what the controller says, if it says anything."""
        self._failure, self._files, self._queues = None, {}, None
        now = time.monotonic()
        if reason in _NOT_FAILED or now - self._last < EVERY_S:
            return
        self._last = now
        properties = self._properties()
        named = {Register(offset).name.lower(): hex(value) for offset, value in properties.items()}
        self._failure = {"reason": reason, "at_s": time.time(), "properties": named}
        csts = decode(CSTS, properties.get(Register.CSTS, ALL_ONES_32))
        if csts.rdy and not csts.cfs:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASKING_S):
                    await self._read_logs(self._files)

    def paused(self) -> None:
        """Copy what there is: to make it readable, and to write it, may take long."""
        if self._failure is None:
            return
        self._queues = [pair.state() for pair in self._controller.pairs()]
        if self._trace is not None:
            self._files[dumps.QUEUES] = bytes(self._trace.memory)

    def after_reset(self) -> None:
        """Write the dump, and ask for what could not be asked for before."""
        failure, files, states = self._failure, self._files, self._queues
        self._failure, self._files, self._queues = None, {}, None
        if failure is None or states is None:
            return
        about = {**failure, "crash": False, "queues": [_shown(state) for state in states]}
        folder = self._dumping.make(self._controller.known_as, files, about)
        if folder is not None and self._controller.live:
            self._dumping.later(self._complete(folder, set(files)))

    def _properties(self) -> dict[int, int]:
        try:
            return self._controller.properties()
        except (ControllerError, TransportError, OSError):
            return {}

    async def _complete(self, folder: Path, known: set[str]) -> None:
        files: dict[str, bytes] = {}
        with contextlib.suppress(TimeoutError, ControllerError):
            async with asyncio.timeout(AFTERWARDS_S):
                await self._read_logs(files, known)
        try:
            for name, content in files.items():
                dumps.write(folder / name, content)
        except OSError as error:  # one more dump may have taken its place
            _log.warning("%s: %s", folder, error)

    async def _read_logs(self, files: dict[str, bytes], known: set[str] | None = None) -> None:
        """Read logs into `files`, but those that are known; TimeoutError ends it at any point."""
        entries = self._controller.commands.error_log_entries
        lpa = self._controller.identity.lpa
        wanted = [
            (LogPage.ERROR, min(entries * ERROR_LOG_ENTRY.size, _PIECE)),
            (LogPage.SMART, SMART_LOG.size),
        ]
        for lid, length in wanted:
            await self._keep(files, known, lid, self._log(lid, length))
        if lpa & _LPA_PERSISTENT:
            await self._keep(files, known, PERSISTENT_EVENT_LOG, self._persistent_events())
        if lpa & _LPA_TELEMETRY:
            await self._keep(files, known, TELEMETRY_CONTROLLER, self._telemetry())

    async def _keep(
        self, files: dict[str, bytes], known: set[str] | None, lid: int, reading: Any
    ) -> None:
        name = f"log-{lid:02x}.bin"
        if known is not None and name in known:
            reading.close()
        elif data := await reading:
            files[name] = data

    async def _log(self, lid: int, length: int, *, offset: int = 0, lsp: int = 0) -> bytes:
        """Return a log from an offset, as far as it can be read, bounded; whole dwords."""
        data = b""
        wanted = -(-min(length, MOST_LOG_BYTES) // _DWORD) * _DWORD
        while len(data) < wanted:
            piece = min(_PIECE, wanted - len(data))
            command = get_log_page(lid, BROADCAST_NSID, piece, offset=offset + len(data), lsp=lsp)
            completion = await self._asked(command)
            if completion is None or completion.status:
                break
            data += completion.data
        return data

    async def _persistent_events(self) -> bytes:
        """Return the log; its context, without which nobody else can read it, is released always.

        That is not waited for: there may be no time left.
        """
        size = PERSISTENT_EVENT_HEADER.size
        established = True  # unless the controller says that it is not: it is another's then
        try:
            head = await self._log(PERSISTENT_EVENT_LOG, size, lsp=Action.ESTABLISH)
            established = len(head) == size
            if not established:
                return b""
            rest = PERSISTENT_EVENT_HEADER.parse(head).total_log_len - size
            return head + await self._log(PERSISTENT_EVENT_LOG, max(rest, 0), offset=size)
        finally:
            if established:
                lid, lsp = PERSISTENT_EVENT_LOG, Action.RELEASE
                self._send(get_log_page(lid, BROADCAST_NSID, size, lsp=lsp))

    async def _telemetry(self) -> bytes:
        """Return what the controller has collected by itself, else what it collects now."""
        for lid, lsp in ((TELEMETRY_CONTROLLER, 0), (TELEMETRY_HOST, 1)):
            head = await self._log(lid, TELEMETRY_HEADER.size, lsp=lsp)
            if len(head) < TELEMETRY_HEADER.size:
                continue
            header = TELEMETRY_HEADER.parse(head)
            if lid == TELEMETRY_HOST or header.available:
                return head + await self._log(lid, header.area3_last * _BLOCK, offset=_BLOCK)
        return b""

    def _send(self, command: NvmeCommand) -> None:
        """Have a command executed, if that can be; however it ends."""
        with contextlib.suppress(ControllerError, ValueError):
            self._controller.start((command,), lambda outcome: None)

    async def _asked(self, command: NvmeCommand) -> Completion | None:
        """Return how a command ended, None if it cannot be sent.

        Who gives up waiting, as time is over, leaves the command to the reset that follows.
        """
        ended: asyncio.Future[Completion | None] = asyncio.get_running_loop().create_future()

        def completed(outcome: tuple[Completion, ...] | BaseException) -> None:
            if not ended.done():
                ended.set_result(None if isinstance(outcome, BaseException) else outcome[0])

        try:
            stop = self._controller.start((command,), completed)
        except (ControllerError, ValueError):
            return None
        try:
            return await ended
        finally:
            stop()


def _shown(state: QueueState) -> dict[str, Any]:
    """Return a queue pair's state for people and programs."""
    return {
        "qid": state.qid,
        "depth": state.depth,
        "sq_tail": state.sq_tail,
        "cq_head": state.cq_head,
        "phase": int(state.phase),
        "unexpected_completions": state.unexpected,
        "outstanding": [
            {"cid": each.cid, "age_ms": each.age_ms, **SQE.parse(each.sqe)}
            for each in state.pending
        ],
    }
