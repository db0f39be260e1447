"""Reservations, for hosts that share namespaces. Spec: NVMe Base 2.0c 8.19, 7.2 to 7.5."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from scsi2nvme.drivers.emulated.capabilities.features import Features
from scsi2nvme.drivers.emulated.capabilities.host_identifier import HostIdentifier
from scsi2nvme.drivers.emulated.capabilities.subsystem import CONTROLLER
from scsi2nvme.drivers.emulated.capability import (
    Capability,
    Controller,
    Feature,
    Fields,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.memory import UnmappedError
from scsi2nvme.drivers.emulated.model import CommandFailed, Event, invalid_field
from scsi2nvme.drivers.emulated.reservations import DENY_WRITE, Reservation
from scsi2nvme.drivers.emulated.subsystem import BusyError, Shared, Subsystem
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Opcode
from scsi2nvme.nvme.reservations import (
    ACQUIRE_DATA,
    EXTENDED_STATUS_BYTES,
    IGNORE_KEY,
    ONCS_RESERVATIONS,
    REGISTER_DATA,
    REGISTERED_CONTROLLER,
    REGISTERED_CONTROLLER_EXTENDED,
    RELEASE_DATA,
    RESERVATION_NOTIFICATION,
    RESERVATION_NOTIFICATION_LOG,
    RESERVATION_STATUS,
    Notice,
)
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import SQE

NOTIFIED = Event(6, 0, RESERVATION_NOTIFICATION_LOG)
_MASK, _PERSISTENCE = 0x82, 0x83  # features
_EVERYTHING = 0xFF  # RESCAP: all types, through power loss, IEKEY as of 1.3
_NO_CONTROLLER = 0xFFFF  # CNTLID of a host that has none
_AGAIN_S = 0.05  # after which is tried again what another process was in the way of
_NAMELESS = "#"  # begins what stands for a host that has not said which it is

RESCAP = Option(
    "rescap",
    "on|off",
    "emulated only: whether it has reservations, which it heeds (default off)",
    parse_switch,
    36,
    "rescap",
    subject="reservations of their own",
)


class Reservations(Part):
    """Executes the commands, and tells of what other hosts have done."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        image = controller.model.image
        path = None if image.traceless else image.path
        number = controller.settings[CONTROLLER.keyword]
        self._subsystem = Subsystem(controller.model.emulator, path, number)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._log: deque[tuple[int, int, int]] = deque()  # count, type, NSID
        controller.part(HostIdentifier).changed = self._host_changed

    # ---- hosts ----

    @property
    def _host(self) -> str:
        host = self._controller.part(HostIdentifier).host
        return host or f"{_NAMELESS}{self._subsystem.number}"

    def _host_changed(self) -> None:
        """Be another host from now on; one without a name is a new one after each reset."""
        number, host = self._subsystem.number, self._host

        def change(shared: Shared) -> None:
            told = shared.told(number)
            if told.host.startswith(_NAMELESS):
                for one in shared.namespaces.values():
                    one.unregister(told.host)
            told.host = host

        try:
            self._change_all(change)
        except CommandFailed:
            asyncio.get_running_loop().call_later(_AGAIN_S, self._host_again)
            raise

    def _host_again(self) -> None:
        if not self._closed:
            with suppress(CommandFailed):
                self._host_changed()

    def _change_all(self, how: Callable[[Shared], Any]) -> None:
        try:
            self._subsystem.change(how)
        except BusyError:
            raise CommandFailed(StatusCode.COMMAND_INTERRUPTED, dnr=False) from None

    # ---- commands ----

    def before_posting(self) -> None:
        """See Part: execute what has come on I/O queues."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._subsystem.fileno(), self._woken)
        while (request := self._controller.model.emulator.next_request()) is not None:
            opcode, fields = request
            command = SQE.parse(SQE.build(opc=opcode, **fields))
            self._controller.model.emulator.answer(self._executed(command))

    def _executed(self, command: Values) -> int:
        """Execute a command; return its status with DNR."""
        try:
            _EXECUTE[command.opc](self, command)
        except CommandFailed as failure:
            return failure.status | failure.dnr << 14
        except UnmappedError:
            return StatusCode.DATA_TRANSFER_ERROR
        except (OSError, TransportError):
            return StatusCode.INTERNAL_ERROR
        return StatusCode.SUCCESS

    def _change(self, nsid: int, how: Callable[[Reservation], None]) -> None:
        self._change_all(lambda shared: how(shared.of(nsid)))

    def register(self, command: Values) -> None:
        """Reservation Register."""
        keys = REGISTER_DATA.parse(self._controller.from_host(command, REGISTER_DATA.size))
        host, cdw10 = self._host, command.cdw10
        if cdw10 >> 30 == 1:
            raise invalid_field(43, 6)

        def change(one: Reservation) -> None:
            ignore = bool(cdw10 & IGNORE_KEY)
            one.register(host, cdw10 & 7, keys.crkey, keys.nrkey, ignore=ignore)
            one.set_ptpl(cdw10 >> 30)

        self._change(command.nsid, change)

    def acquire(self, command: Values) -> None:
        """Reservation Acquire."""
        keys = ACQUIRE_DATA.parse(self._controller.from_host(command, ACQUIRE_DATA.size))
        host, cdw10 = self._host, command.cdw10
        if cdw10 & IGNORE_KEY:
            raise invalid_field(40, 3)
        kind = cdw10 >> 8 & 0xFF
        self._change(
            command.nsid, lambda one: one.acquire(host, cdw10 & 7, kind, keys.crkey, keys.prkey)
        )

    def release(self, command: Values) -> None:
        """Reservation Release."""
        key = RELEASE_DATA.parse(self._controller.from_host(command, RELEASE_DATA.size)).crkey
        host, cdw10 = self._host, command.cdw10
        if cdw10 & IGNORE_KEY:
            raise invalid_field(40, 3)
        self._change(command.nsid, lambda one: one.release(host, cdw10 & 7, cdw10 >> 8 & 0xFF, key))

    def report(self, command: Values) -> None:
        """Reservation Report."""
        extended = bool(command.cdw11 & 1)
        if extended != bool(self._controller.part(HostIdentifier).exhid):
            raise CommandFailed(StatusCode.HOST_ID_INCONSISTENT)
        shared = self._subsystem.read()
        one, entries = shared.of(command.nsid), b""
        row = REGISTERED_CONTROLLER_EXTENDED if extended else REGISTERED_CONTROLLER
        count = 0
        for host, key in one.keys.items():
            raw = b"" if host.startswith(_NAMELESS) else bytes.fromhex(host)
            there = [int(n) for n, told in shared.controllers.items() if told.host == host]
            for number in there or [_NO_CONTROLLER]:
                hostid = int.from_bytes(raw, "little") & (1 << (128 if extended else 64)) - 1
                entries += row.build(cntlid=number, holds=one.holds(host), hostid=hostid, rkey=key)
                count += 1
        header = RESERVATION_STATUS.build(
            gen=one.generation, rtype=one.type, regctl=count, ptpls=one.ptpl
        )
        if extended:
            header = header.ljust(EXTENDED_STATUS_BYTES, b"\0")
        length = 4 * (command.cdw10 + 1)
        if length > 1 << 20:
            raise invalid_field(40)
        self._controller.to_host(command, (header + entries)[:length].ljust(length, b"\0"))

    def check(self, command: Values) -> None:
        """See Part: some admin commands change blocks."""
        if command.opc not in (AdminOpcode.FORMAT_NVM, AdminOpcode.SANITIZE):
            return
        shared, host = self._subsystem.read(), self._host
        everyone = command.opc == AdminOpcode.SANITIZE or command.nsid == BROADCAST_NSID
        for nsid, one in shared.namespaces.items():
            if (everyone or int(nsid) == command.nsid) and one.denied(host) & DENY_WRITE:
                raise CommandFailed(StatusCode.RESERVATION_CONFLICT)

    # ---- features ----

    def persistence(self, nsid: int) -> int:
        """Return PTPL of a namespace."""
        return int(self._subsystem.read().of(nsid).ptpl)

    def persist(self, command: Values) -> None:
        """Set PTPL of a namespace, or of all."""
        for namespace in self._controller.model.selected(command.nsid):
            self._change(namespace.nsid, lambda one: one.set_ptpl(2 | command.cdw11 & 1))

    # ---- notifications ----

    def _woken(self) -> None:
        """Take what another controller has left here; its host may not want to know."""
        self._subsystem.woken()
        number = self._subsystem.number
        taken: list[tuple[int, int, int]] = []

        def take(shared: Shared) -> None:
            told = shared.told(number)
            first = told.count - len(told.notices) + 1
            taken.extend((first + at, *notice) for at, notice in enumerate(told.notices))
            told.notices.clear()

        if not self._subsystem.read().told(number).notices:
            return
        try:
            self._subsystem.change(take)
        except BusyError:
            asyncio.get_running_loop().call_later(_AGAIN_S, self._woken_again)
            return
        masks = self._controller.part(Features)
        self._log.extend(each for each in taken if not masks.current(_MASK, each[2]) >> each[1] & 1)
        if self._log:
            self._controller.model.notify(NOTIFIED)

    def _woken_again(self) -> None:
        if not self._closed:
            self._woken()

    def log(self) -> bytes:
        """Return the oldest notification, or an empty one."""
        if not self._log:
            return RESERVATION_NOTIFICATION.build(type=Notice.EMPTY)
        count, kind, nsid = self._log[0]
        more = min(len(self._log) - 1, 0xFF)
        return RESERVATION_NOTIFICATION.build(lpc=count, type=kind, nalp=more, nsid=nsid)

    def taken(self) -> None:
        """It was read."""
        if self._log:
            self._log.popleft()
        if self._log:
            self._controller.model.notify(NOTIFIED)

    def give_up(self) -> None:
        """See Part."""
        self._subsystem.discard()

    def close(self) -> None:
        """See Part."""
        self._closed = True
        self._controller.part(HostIdentifier).changed = lambda: None
        if self._loop is not None:
            self._loop.remove_reader(self._subsystem.fileno())
        self._subsystem.close()


_EXECUTE: dict[int, Callable[[Reservations, Values], None]] = {
    Opcode.RESERVATION_REGISTER: Reservations.register,
    Opcode.RESERVATION_REPORT: Reservations.report,
    Opcode.RESERVATION_ACQUIRE: Reservations.acquire,
    Opcode.RESERVATION_RELEASE: Reservations.release,
}


def _set_persistence(controller: Controller, command: Values) -> None:
    controller.part(Reservations).persist(command)


def _controller(controller: Controller) -> Fields:
    return {"oncs": ONCS_RESERVATIONS}


def _offered(settings: Mapping[str, Any]) -> bool:
    return bool(settings[RESCAP.keyword])


CAPABILITY = Capability(
    "Reservations",
    io_commands=dict.fromkeys(_EXECUTE, 0),
    log_pages=(
        LogPage(
            RESERVATION_NOTIFICATION_LOG,
            lambda controller: controller.part(Reservations).log(),
            taken=lambda controller: controller.part(Reservations).taken(),
            controller_only=True,
        ),
    ),
    features=(
        Feature(_MASK, check=lambda _, value: value & 0xE, per_namespace=True),
        Feature(
            _PERSISTENCE,
            check=lambda _, value: value & 1,
            apply=_set_persistence,
            per_namespace=True,
            current=lambda controller, nsid: controller.part(Reservations).persistence(nsid),
        ),
    ),
    controller=_controller,
    any_namespace=lambda controller, namespace: {"rescap": _EVERYTHING},
    options=(RESCAP,),
    settings={RESCAP.keyword: False},
    start=Reservations,
    offered=_offered,
)
