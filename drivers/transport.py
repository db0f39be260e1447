"""What a controller driver needs of the thing that a controller hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scsi2nvme.native.transport import Port, Region, Window


class TransportError(Exception):
    """The controller cannot be reached (any more). The message is for people."""


class Alarm(Enum):
    """What the host may have to tell of a device."""

    ERROR = "an uncorrectable error on the bus"
    UNPLUG = "the host wants the device back"


class Transport(Protocol):
    """Registers, DMA memory and interrupts of one NVMe controller.

    Offsets are into the controller's register space (BAR0). Every call may
    raise TransportError. What the host may take a minute for is a coroutine.
    """

    name: str  # for people, e.g. "emulated:disk.img"
    vectors: int  # how many interrupt vectors there are; 0: poll
    alarms: Mapping[Alarm, int]  # the eventfds that tell of it, where the host does
    pci_id: tuple[int, int]  # vendor and device, for quirks; (0, 0) where there is none
    parent: str  # the address of the function that it is a virtual one of, "" if it is none

    @property
    def port(self) -> Port:
        """The doorbells, for queue pairs."""

    def read32(self, offset: int) -> int:
        """Read a 32-bit register; all ones when the controller is gone."""

    def read64(self, offset: int) -> int:
        """Read a 64-bit register."""

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register."""

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register, low half first where it must be split."""

    def allocate(self, length: int) -> Region:
        """Return zeroed DMA memory, page aligned, that lives until `close`."""

    def window(self, length: int) -> Window | None:
        """Return addresses for memory that is not from `allocate`; None: it cannot be reached.

        They are `length` bytes of the device's, into which the caller maps pages, until it
        closes the window.
        """

    def interrupt(self, vector: int) -> int:
        """Return the eventfd that `vector` signals; it is the transport's, until `close`."""

    def rearm(self) -> None:
        """Interrupts were collected: more may come. For those that do not by themselves."""

    def steer(self, cpus: Mapping[int, int]) -> None:
        """Have these vectors interrupt these CPUs, where the host can arrange it."""

    async def reset(self) -> None:
        """Reset the function (FLR): registers to their defaults, queues gone.

        Spec: PCI Express Base 4.0 6.6.2; NVMe Base 2.0c 3.7.
        """

    def cut_off(self) -> None:
        """Have a device that is given up reach no memory any more; TransportError if it may still.

        At once, whatever it does; `reset` and `take_back` end it.
        """

    async def let_go(self) -> None:
        """Give the device back at once: registers read all ones, no command ends any more.

        DMA memory and doorbells may be touched until `close`, in vain.
        """

    async def take_back(self) -> bool:
        """Drive a device again that was let go; False where it is not there.

        It is as after a reset. Memory, doorbells and interrupts are those of before.
        """

    def give_up(self) -> None:
        """It could not be brought up: have `close` undo what opening it has made."""

    def close(self) -> None:
        """Free everything, and let go of the controller if that has not been done.

        Nothing touches its DMA memory any more.
        """
