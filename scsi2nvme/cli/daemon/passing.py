"""Commands as people write them, for controllers that are served.

What may take from initiators what they use is refused unless it is forced, and then is a change of
the disk: a format finds its logical units not ready, and afterwards what the controller has become
is read, and initiators are told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from scsi2nvme.api import passing as api
from scsi2nvme.api.passing import (
    DWORDS,
    LOOK_BYTES,
    CommandEnded,
    WhichCommand,
    WhichProperties,
    WhichSubsystem,
)
from scsi2nvme.cli import controllers
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.events import ControllerEvent, EventType
from scsi2nvme.drivers.nvme.identify import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.fields import Values
from scsi2nvme.happenings import tell
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.effects import EFFECTS_LOG, EFFECTS_LOG_BYTES, effects_of
from scsi2nvme.nvme.log_page import RETAIN_EVENT, get_log_page
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.passing import adds, danger, harmless, looks, moved_bytes, refusal, removes
from scsi2nvme.scsi.result import CheckCondition, NvmeError
from scsi2nvme.scsi.sense import MODE_PARAMETERS_CHANGED
from scsi2nvme.service import TaskService
from scsi2nvme.service.beside import TakesLongError
from scsi2nvme.service.routing import sets
from scsi2nvme.service.served_unit import GoneError
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness

_DWORD, _BYTE = 0xFFFFFFFF, 0xFF
_LPA_EFFECTS = 1 << 1
_FNA_FORMATS_ALL, _FNA_ERASES_ALL = 1 << 0, 1 << 1
_SES = 7 << 9
_RESERVES = {
    Opcode.RESERVATION_REGISTER,
    Opcode.RESERVATION_ACQUIRE,
    Opcode.RESERVATION_RELEASE,
}
_MODE_FEATURES = {0x05, 0x06}  # Error Recovery, Volatile Write Cache: mode pages 01h and 08h

_log = logging.getLogger(__name__)


class Passing:
    """Answers the methods of `scsi2nvme.api.passing`.

    `served` finds a controller by what it is called; `report` has its logical units become what
    has become of it.
    """

    def __init__(
        self,
        service: TaskService,
        served: Callable[[str], Served],
        report: Callable[[Served, ControllerEvent], Awaitable[None]],
    ) -> None:
        self._service = service
        self._served = served
        self._report = report

    def answer(self, answers: Answers) -> None:
        """Have these methods answered."""
        answers.add(api.LOOK, self._look)
        answers.add(api.COMMAND, self._command)
        answers.add(api.PROPERTIES, self._properties)
        answers.add(api.RESET_SUBSYSTEM, self._reset_subsystem)

    async def _properties(self, which: WhichProperties) -> dict[str, int]:
        controller = self._served(which.controller).controller
        return {str(offset): value for offset, value in controller.properties().items()}

    async def _reset_subsystem(self, which: WhichSubsystem) -> None:
        one = self._served(which.controller)
        if one.units and not which.force:
            raise OperationError(
                "an NVM subsystem reset is refused while the controller is served: hosts of its "
                "other controllers lose what is under way; --force does it all the same"
            )
        await controllers.reset_subsystem(one.controller)

    async def _look(self, which: WhichCommand) -> CommandEnded:
        command = _command_of(which)
        if not looks(command):
            raise UsageError(f"{command.name} does more than look: it is for controllers.command")
        if (size := max(command.data_in, moved_bytes(command, None))) > LOOK_BYTES:
            raise UsageError(f"data_in: {size} bytes, and a look has at most {LOOK_BYTES}")
        command = _only_looking(command)
        one = self._served(which.controller)
        known = _known(one, command)
        return _ended(await controllers.execute(one.controller, command, *known))

    async def _command(self, which: WhichCommand) -> CommandEnded:
        one, command = self._served(which.controller), _command_of(which)
        if reason := refusal(command):
            raise OperationError(f"{command.name} is not passed: {reason}")
        effects = await _effects(one, command)
        concerned = _concerned(one, command, effects)
        reason = danger(command, effects) if concerned else ""
        if reason and not which.force:
            raise OperationError(
                f"{command.name} is refused while the controller is served: {reason}; "
                "--force does it all the same"
            )
        async with self._beside(one, command):
            return await self._pass(one, command, concerned, reason)

    @asynccontextmanager
    async def _beside(self, one: Served, command: NvmeCommand) -> AsyncIterator[None]:
        """Have no format or sanitize operation begin under I/O, and refuse it while one goes on.

        Blocks have another length afterwards than there is room for, or what was written is gone.
        """
        of_it = [lu for lu in one.units.values() if lu.nsid == command.nsid]
        if command.admin or not of_it:
            yield
            return
        try:
            async with self._service.beside(of_it[0]):
                yield
        except TakesLongError as busy:
            raise OperationError(
                f"{command.name} is not passed: namespace {command.nsid} {busy}; "
                "try again when that is done"
            ) from None
        except GoneError:
            raise OperationError(
                f"{command.name}: namespace {command.nsid} was removed meanwhile; "
                "nobody knows whether it was done"
            ) from None

    async def _pass(
        self, one: Served, command: NvmeCommand, concerned: Iterable[LogicalUnit], reason: str
    ) -> CommandEnded:
        """Send a command that may be sent, and follow what comes of it."""
        known = _known(one, command)
        controllers.with_room(one.controller, command, *known)  # or all stays as it was
        if reason:
            told = ("controller %s: %s is forced: %s", one.settings.spec.text, command.name, reason)
            tell(_log, logging.WARNING, "command-forced", *told, controller=one.settings.spec.text)
        async with self._set_aside(concerned, command) as outcome, AsyncExitStack() as stack:
            if not command.admin and command.opcode in _RESERVES:
                for lu in concerned:
                    await self._reserving(stack, command, lu)
            if not harmless(command):
                self._service.blocks_may_change(concerned)
            outcome.append(await controllers.execute(one.controller, command, *known))
            if not harmless(command):
                self._service.blocks_may_change(concerned)  # also of tokens made meanwhile
                await self._follow(one, command, concerned, outcome[0])
        return _ended(outcome[0])

    async def _reserving(
        self, stack: AsyncExitStack, command: NvmeCommand, lu: LogicalUnit
    ) -> None:
        """Have initiators not be taken for registrants where only the daemon's host becomes one."""
        try:
            await stack.enter_async_context(self._service.reserving(lu))
        except (NvmeError, CheckCondition) as error:
            raise OperationError(
                f"{command.name} is not passed: reservations of namespace {lu.nsid} cannot be "
                f"read: {error}"
            ) from None

    @asynccontextmanager
    async def _set_aside(
        self, units: Iterable[LogicalUnit], command: NvmeCommand
    ) -> AsyncIterator[list[Completion]]:
        """Have logical units be formatting while a format is under way; nothing for others.

        They are until they are known to have the new format: one of the old would move other data
        than it has room for.
        """
        outcome: list[Completion] = []
        before = {lu: lu.readiness for lu in units}
        if not (command.admin and command.opcode == AdminOpcode.FORMAT_NVM and before):
            yield outcome
            return
        for lu in before:
            if lu.readiness is Readiness.FORMATTING:
                raise OperationError("another format of it is under way")
            if lu.readiness is Readiness.FAILED:
                raise OperationError("the controller is not there")
            if lu.firmware.busy:
                raise OperationError("an initiator writes firmware; try again when that is done")
        for lu in before:
            _enter(lu, Readiness.FORMATTING)
        may_be_sent = False
        try:
            await self._service.drain_units(before)
            may_be_sent = True
            yield outcome
        except BaseException:
            outcome.clear()  # nobody knows what has become of them
            raise
        finally:
            for lu, was in before.items():
                if lu.readiness is Readiness.FORMATTING:  # else it has gone meanwhile
                    _enter(lu, _after(outcome, was) if may_be_sent else was)

    async def _follow(
        self,
        one: Served,
        command: NvmeCommand,
        concerned: Iterable[LogicalUnit],
        completion: Completion,
    ) -> None:
        """Read what the controller has become, and tell whom it concerns."""
        self._service.controller_interrupted()  # no answer from before holds
        if completion.status:
            return
        if sets(command):
            await self._service.also_set(one.units.values(), one.native, command)
            if command.cdw10 & _BYTE in _MODE_FEATURES:
                units = one.units.values()
                for lu in {each for first in units for each in first.controller_units}:
                    lu.establish_attention(MODE_PARAMETERS_CHANGED)
        if not command.admin:
            return
        if command.opcode == AdminOpcode.SANITIZE:
            self._service.follow_sanitize(one.units.values())
        try:
            changed = await one.controller.rescan()
        except ControllerError as error:
            raise OperationError(
                f"{command.name} was done, but the namespaces cannot be read: {error}"
            ) from error
        if command.opcode == AdminOpcode.FORMAT_NVM:
            changed |= {lu.nsid for lu in concerned}
            self._formatted(one, concerned)
        if changed:
            log = LogPage.CHANGED_NAMESPACES
            await self._report(one, ControllerEvent(EventType.NOTICE, 0, log, b"", changed))
        await self._service.refresh(concerned)  # also of what is reached by another controller

    @staticmethod
    def _formatted(one: Served, concerned: Iterable[LogicalUnit]) -> None:
        """Have logical units be what a format has made of their namespaces, by any controller."""
        for lu in concerned:
            facts = one.controller.namespaces.get(lu.nsid)
            if facts is not None and lu.is_of(facts):
                lu.formatted(facts.namespace)
            else:  # nobody knows what other controllers lead to
                _enter(lu, Readiness.FORMAT_FAILED)


def _known(one: Served, command: NvmeCommand) -> list[NamespaceFacts]:
    """Return what is known of a command's namespace as a logical unit.

    An initiator, or another controller, may have formatted it, and this one not have told of it.
    """
    return [lu.facts for lu in one.units.values() if lu.nsid == command.nsid]


def _enter(lu: LogicalUnit, readiness: Readiness) -> None:
    lu.readiness, lu.progress = readiness, None
    lu.on_change()


def _after(outcome: list[Completion], before: Readiness) -> Readiness:
    """Return what a logical unit is after a format: as it was if that was refused."""
    if outcome and not outcome[0].status:
        return Readiness.READY
    refused = bool(outcome) and outcome[0].status >> 8 <= 1 and outcome[0].dnr
    return before if refused else Readiness.FORMAT_FAILED


def _only_looking(command: NvmeCommand) -> NvmeCommand:
    """Return a command that looks, so that nothing else comes of it.

    A deadline that passes is a controller reset, and the event of a log is the driver's to end.
    """
    retain = RETAIN_EVENT if command.opcode == AdminOpcode.GET_LOG_PAGE else 0
    return replace(command, timeout_s=None, metadata_in=0, cdw10=command.cdw10 | retain)


def _command_of(which: WhichCommand) -> NvmeCommand:
    """Return the command that is meant; UsageError if there is no such."""
    limits = {"opcode": _BYTE, "prefill": _BYTE, "data_in": MAXIMUM_TRANSFER_BYTES}
    limits["metadata_in"] = MAXIMUM_TRANSFER_BYTES - min(which.data_in, MAXIMUM_TRANSFER_BYTES)
    limits |= dict.fromkeys(("nsid", "timeout_ms", *DWORDS), _DWORD)
    for name, limit in limits.items():
        if not 0 <= getattr(which, name) <= limit:
            raise UsageError(f"{name}: {getattr(which, name)} is not between 0 and {limit}")
    data_out, metadata_out = _bytes("data_out", which), _bytes("metadata_out", which)
    if (data_out or metadata_out) and (which.data_in or which.metadata_in):
        raise UsageError("data_in and data_out: a command moves data one way")
    return NvmeCommand(
        which.opcode,
        which.nsid,
        **{name: getattr(which, name) for name in DWORDS},
        data_in=which.data_in,
        data_out=data_out,
        metadata_in=which.metadata_in,
        metadata_out=metadata_out,
        prefill=which.prefill,
        admin=which.admin,
        timeout_s=which.timeout_ms / 1000 or None,
    )


def _bytes(name: str, which: WhichCommand) -> bytes:
    try:
        return bytes.fromhex(getattr(which, name))
    except ValueError:
        raise UsageError(f"{name}: not bytes in hexadecimal, two digits each") from None


def _ended(completion: Completion) -> CommandEnded:
    return CommandEnded(
        int(completion.status),
        completion.dw0,
        completion.dnr,
        completion.more,
        completion.data.hex(),
        completion.metadata.hex(),
    )


async def _effects(one: Served, command: NvmeCommand) -> Values | None:
    """Return what the controller says of a command, None if it says nothing."""
    if harmless(command) or not one.controller.identity.lpa & _LPA_EFFECTS:
        return None
    log = get_log_page(EFFECTS_LOG, 0, EFFECTS_LOG_BYTES)
    completion = await controllers.execute(one.controller, log)
    return None if completion.status else effects_of(completion.data, command)


def _concerned(
    one: Served, command: NvmeCommand, effects: Values | None
) -> tuple[LogicalUnit, ...]:
    """Return the logical units of a controller that a command may change."""
    every = tuple(one.units.values())
    named = tuple(lu for lu in every if command.nsid in (lu.nsid, BROADCAST_NSID))
    if adds(command):
        return ()
    if removes(command):
        return named
    if not command.admin:
        return named or every if command.nsid == 0 else named
    if command.opcode == AdminOpcode.FORMAT_NVM:
        fna = one.controller.identity.fna
        whole = fna & (_FNA_ERASES_ALL if command.cdw10 & _SES else _FNA_FORMATS_ALL)
        return every if whole else named
    alone = effects is not None and effects.csupp and effects.cse <= 1 and not effects.ccc
    return named if alone and named and not _shared(command) else every


def _shared(command: NvmeCommand) -> bool:
    """Whether an admin command that names a namespace concerns all of them nevertheless."""
    return command.opcode in (
        AdminOpcode.SANITIZE,
        AdminOpcode.FIRMWARE_COMMIT,
        AdminOpcode.SECURITY_SEND,
    )
