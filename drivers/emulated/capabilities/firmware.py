"""Firmware slots, and what they hold. Spec: NVMe Base 2.0c 5.16.1.4, 3.11."""

from __future__ import annotations

from dataclasses import asdict, field

from scsi2nvme import __version__
from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields, LogPage, Part
from scsi2nvme.drivers.emulated.firmware_image import Firmware, Needs
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.records import dataclass
from scsi2nvme.typed import table

BUILT_IN = Firmware(__version__[:8])
MOST_SLOTS = 7
_KEPT = "firmware"
_FIRST_SLOT_READ_ONLY = 1  # FRMW
_LOG_BYTES = 512
# What a controller level reset is enough for.
_BY_RESET = (Needs.NOTHING, Needs.CONTROLLER_RESET)


def _parse_slots(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_SLOTS):
        raise ValueError(f"is not a number from 1 to {MOST_SLOTS}")
    return int(text)


SLOTS = Option(
    "slots",
    "N",
    f"how many firmware slots, 1 to {MOST_SLOTS} (default 1, emulated only): the first cannot be "
    "written, into the others firmware can be downloaded",
    _parse_slots,
    83,
    "firmware_slots",
    subject="firmware slots",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered: `slots` are those from the second on."""

    active: int = 1
    next: int = 0
    slots: list[Firmware | None] = field(default_factory=list)


class Slots(Part):
    """What the slots hold, which one runs, and which will after a reset (0: the same)."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model
        self.count: int = controller.settings[SLOTS.keyword]
        try:
            kept = table(self._model.state.kept.get(_KEPT, {}), Kept)
        except ValueError as error:
            raise TransportError(f"{self._model.image.sidecar}: firmware: {error}") from error
        self.stored = {1: BUILT_IN} | {
            slot: one for slot, one in enumerate(kept.slots, 2) if one and slot <= self.count
        }
        self.active = kept.active if kept.active in self.stored else 1
        self.next = kept.next if kept.next in self.stored else 0
        self._switch()  # the power was off

    @property
    def running(self) -> Firmware:
        """What runs."""
        return self.stored[self.active]

    def reset(self) -> None:
        """See Part: it activates what needs no more than that."""
        if self.next and self.stored[self.next].needs in _BY_RESET:
            self._switch()
            self.save()

    def _switch(self) -> None:
        self.active, self.next = self.next or self.active, 0

    def activate(self, slot: int) -> None:
        """Run what a slot holds, from now on."""
        self.active, self.next = slot, 0
        self.save()

    def save(self) -> None:
        """Make it durable."""
        slots = [self.stored.get(slot) for slot in range(2, self.count + 1)]
        self._model.state.kept[_KEPT] = asdict(Kept(self.active, self.next, slots))
        self._model.try_save()


def _log(controller: Controller) -> bytes:
    slots = controller.part(Slots)
    head = bytes([slots.active | slots.next << 4]).ljust(8, b"\0")
    revisions = (slots.stored.get(slot) for slot in range(1, MOST_SLOTS + 1))
    body = b"".join(bytes(8) if one is None else one.fr for one in revisions)
    return (head + body).ljust(_LOG_BYTES, b"\0")


def _controller(controller: Controller) -> Fields:
    slots = controller.part(Slots)
    return {"fr": slots.running.fr, "frmw": _FIRST_SLOT_READ_ONLY | slots.count << 1}


CAPABILITY = Capability(
    "firmware slots",
    log_pages=(LogPage(0x03, _log),),
    controller=_controller,
    options=(SLOTS,),
    settings={SLOTS.keyword: 1},
    start=Slots,
)
