"""The D-Bus contract by which targetcli learns of a user backstore's handlers.

An object manager at PATH has one object per handler; its last path element is the
handler's name. One program has the bus name: we, or a tcmu-runner that we register our
handler with, and after which we have it. Needs the optional dependency dbus-fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

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


class TcmuBus:
    """Our name and handler on a bus: the system's, or that of `address`.

    `guest`: whether tcmu-runner has the name, and answers the kernel.
    """

    def __init__(self, bus: MessageBus, *, guest: bool) -> None:
        self.guest = guest
        self._bus = bus
        bus.add_message_handler(self._named)

    @classmethod
    async def connect(cls, check: Check, describe: Describe, address: str | None = None) -> TcmuBus:
        """Serve the contract; BusUnavailable if there is no bus, or no place for us on it."""
        bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
            bus.export(f"{PATH}/{HANDLER}", HandlerInterface(check, describe))
            reply = await bus.request_name(NAME)
            if reply is RequestNameReply.PRIMARY_OWNER:
                return cls(bus, guest=False)
            this = cls(bus, guest=True)
            await this._register(check, describe)
        except (OSError, DBusError) as error:
            bus.disconnect()
            raise BusUnavailable(f"the D-Bus name {NAME}: {error}") from error
        except BaseException:
            bus.disconnect()
            raise
        return this

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
        """Note that the name has become ours: tcmu-runner has ended."""
        if message.member == "NameAcquired" and message.body == [NAME]:
            self.guest = False

    def close(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()
