"""The D-Bus contract by which targetcli learns of a user backstore's handlers.

An object manager at PATH has one object per handler; its last path element is the
handler's name. One program has the bus name: we, or a tcmu-runner that we register our
handler with, and after which we have it. While no daemon runs a *stand-in* has it, which
gives way to any. Needs the optional dependency dbus-fast.

Of a backstore targetcli shows what the kernel says: configuration string, size, and whether it
is exported. No handler is asked. So what is wrong is told by lines beside that of the handler:
each *notice* is one more handler, whose name says it, with no backstores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, NoReturn

from dbus_fast import (
    BusType,
    DBusError,
    Message,
    MessageType,
    NameFlag,
    PropertyAccess,
    RequestNameReply,
)
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from scsi2nvme.target.tcmu.device_config import HANDLER, ConfigError

NAME = "org.kernel.TCMUService1"
PATH = "/org/kernel/TCMUService1"
INTERFACE = "org.kernel.TCMUService1"
MANAGER = "HandlerManager1"  # of names and paths below those of the service

Check = Callable[[str], object]
Describe = Callable[[], str]
Notices = Callable[[], Iterable[str]]
CheckedConfig = Annotated[tuple[bool, str], DBusSignature("bs")]


class BusUnavailable(Exception):
    """Why the service cannot be had on the bus; one line."""


async def owner(address: str | None = None) -> int | None:
    """Return the process that has the name on a bus, the system's by default; None if nobody has.

    BusUnavailable if there is no bus.
    """
    bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
        asked = Message(
            destination="org.freedesktop.DBus",
            path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus",
            member="GetConnectionUnixProcessID",
            signature="s",
            body=[NAME],
        )
        answer = await bus.call(asked)
    except (OSError, DBusError) as error:
        raise BusUnavailable(f"the D-Bus name {NAME}: {error}") from error
    finally:
        bus.disconnect()
    return int(answer.body[0]) if answer.message_type is MessageType.METHOD_RETURN else None


class HandlerInterface(ServiceInterface):
    """One handler. `check` raises ConfigError for a string that cannot be served; `describe`
    returns what to tell people of all strings."""

    def __init__(self, check: Check, describe: Describe) -> None:
        super().__init__(INTERFACE)
        self._check = check
        self._describe = describe

    @dbus_property(access=PropertyAccess.READ)
    def ConfigDesc(self) -> DBusStr:  # noqa: N802 - the contract's name
        """What a configuration string looks like."""
        return self._describe()

    @dbus_method()
    def CheckConfig(self, config: DBusStr) -> CheckedConfig:  # noqa: N802
        """Whether `HANDLER/…` can be served, and else why not."""
        try:
            self._check(config)
        except ConfigError as error:
            return False, f"{config}: {error}"
        return True, ""


def _path(notice: str) -> str:
    """Return the path of a notice, from which targetcli makes a node's name."""
    words = re.sub("[^A-Za-z0-9]+", "_", notice.partition(":")[0]).strip("_").lower()
    return f"{PATH}/{HANDLER}_{words}"


def _refused(notice: str, config: str) -> NoReturn:
    raise ConfigError(notice)


class TcmuBus:
    """Our name and handler on a bus: the system's, or that of `address`.

    `guest`: whether another has the name, such as tcmu-runner, which answers the kernel then.
    `asked` counts who has asked for the handlers.
    """

    def __init__(self, bus: MessageBus, notices: Notices, *, guest: bool) -> None:
        self.guest = guest
        self.asked = 0
        self._bus = bus
        self._notices = notices
        self._shown: dict[str, str] = {}  # notices, by their paths
        bus.add_message_handler(self._named)
        bus.add_message_handler(self._listed)

    @classmethod
    async def connect(
        cls,
        check: Check,
        describe: Describe,
        address: str | None = None,
        notices: Notices = tuple,
    ) -> TcmuBus:
        """Serve the contract; BusUnavailable if there is no bus, or no place for us on it.

        `notices`: sentences, up to a colon the name of what is wrong.
        """
        bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
            bus.export(f"{PATH}/{HANDLER}", HandlerInterface(check, describe))
            reply = await bus.request_name(NAME, NameFlag.REPLACE_EXISTING)
            if reply is RequestNameReply.PRIMARY_OWNER:
                return cls(bus, notices, guest=False)
            this = cls(bus, notices, guest=True)
            await this._register(check, describe)
        except (OSError, DBusError) as error:
            bus.disconnect()
            raise BusUnavailable(f"the D-Bus name {NAME}: {error}") from error
        except BaseException:
            bus.disconnect()
            raise
        return this

    @classmethod
    async def stand_in(cls, notice: str, address: str | None = None) -> TcmuBus:
        """Tell for a daemon that does not run, until one comes, and why nothing is created."""
        bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
            handler = HandlerInterface(partial(_refused, notice), lambda: notice)
            bus.export(f"{PATH}/{HANDLER}", handler)
            flags = NameFlag.ALLOW_REPLACEMENT | NameFlag.DO_NOT_QUEUE
            reply = await bus.request_name(NAME, flags)
        except (OSError, DBusError) as error:
            bus.disconnect()
            raise BusUnavailable(f"the D-Bus name {NAME}: {error}") from error
        return cls(bus, lambda: [notice], guest=reply is not RequestNameReply.PRIMARY_OWNER)

    async def _register(self, check: Check, describe: Describe) -> None:
        """Have whoever owns the name show our handler."""
        handler = HandlerInterface(check, describe)
        self._bus.export(f"{PATH}/{MANAGER}/{HANDLER}", handler)
        name = f"{NAME}.{MANAGER}.{HANDLER}"
        reply = await self._bus.request_name(name, NameFlag.DO_NOT_QUEUE)
        if reply is not RequestNameReply.PRIMARY_OWNER:
            raise BusUnavailable(f"the D-Bus name {name} is another's")
        answer = await self._bus.call(
            Message(
                destination=NAME,
                path=f"{PATH}/{MANAGER}",
                interface=f"{NAME}.{MANAGER}",
                member="RegisterHandler",
                signature="ss",
                body=[HANDLER, describe()],
            )
        )
        if answer.message_type is not MessageType.METHOD_RETURN:
            why = "it is no tcmu-runner"
        elif not answer.body[0]:
            why = str(answer.body[1])
        else:
            return
        raise BusUnavailable(f"the D-Bus name {NAME} is another's ({why}); stop that first")

    def _named(self, message: Message) -> None:
        """Note that the name has become ours, as tcmu-runner has ended, or another's."""
        if message.sender != "org.freedesktop.DBus":  # anybody may send us a signal of that name
            return
        if message.member in ("NameAcquired", "NameLost") and message.body == [NAME]:
            self.guest = message.member == "NameLost"

    def _listed(self, message: Message) -> None:
        """Before the handlers are listed, have these be what there is to tell at that moment."""
        if message.member != "GetManagedObjects":
            return
        self.asked += 1
        now = {_path(notice): notice for notice in self._notices()}
        for path in [path for path, notice in self._shown.items() if now.get(path) != notice]:
            self._bus.unexport(path)
            del self._shown[path]
        for path, notice in now.items():
            if path not in self._shown:
                handler = HandlerInterface(partial(_refused, notice), partial(str, notice))
                self._bus.export(path, handler)
                self._shown[path] = notice

    def close(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()
