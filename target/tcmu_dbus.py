"""The D-Bus contract by which targetcli learns of a user backstore's handlers.

An object manager at PATH has one object per handler; its last path element is the
handler's name. Needs the optional dependency dbus-fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from dbus_fast import BusType, DBusError, NameFlag, PropertyAccess, RequestNameReply
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from scsi2nvme.target.tcmu import HANDLER, USAGE, ConfigError

NAME = "org.kernel.TCMUService1"
PATH = "/org/kernel/TCMUService1"
INTERFACE = "org.kernel.TCMUService1"
DESCRIPTION = f"NVMe namespaces. The configuration string is {USAGE}."

CheckedConfig = Annotated[tuple[bool, str], DBusSignature("bs")]


class BusUnavailable(Exception):
    """Why the service cannot be had on the bus; one line."""


class HandlerInterface(ServiceInterface):
    """One handler. `check` raises ConfigError for a string that cannot be served."""

    def __init__(self, check: Callable[[str], object]) -> None:
        super().__init__(INTERFACE)
        self._check = check

    @dbus_property(access=PropertyAccess.READ)
    def ConfigDesc(self) -> DBusStr:  # noqa: N802 - the contract's name
        """What a configuration string looks like."""
        return DESCRIPTION

    @dbus_method()
    def CheckConfig(self, config: DBusStr) -> CheckedConfig:  # noqa: N802
        """Whether `HANDLER/…` can be served, and else why not."""
        try:
            self._check(config)
        except ConfigError as error:
            return False, f"{config}: {error}"
        return True, ""


class TcmuBus:
    """Our name and handler on a bus: the system's, or that of `address`."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    @classmethod
    async def connect(cls, check: Callable[[str], object], address: str | None = None) -> TcmuBus:
        """Serve the contract; BusUnavailable if there is no bus or the name is another's."""
        bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
            bus.export(f"{PATH}/{HANDLER}", HandlerInterface(check))
            reply = await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)
        except (OSError, DBusError) as error:
            bus.disconnect()
            raise BusUnavailable(f"the D-Bus name {NAME}: {error}") from error
        if reply is not RequestNameReply.PRIMARY_OWNER:
            bus.disconnect()
            raise BusUnavailable(
                f"the D-Bus name {NAME} is another's: tcmu-runner's or another scsi2nvme's; "
                "stop that first: systemctl stop tcmu-runner"
            )
        return cls(bus)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()
