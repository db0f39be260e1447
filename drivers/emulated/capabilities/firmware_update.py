"""Firmware Image Download and Firmware Commit. Spec: NVMe Base 2.0c 5.12, 5.13, 3.11."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from scsi2nvme.drivers.emulated.capabilities.firmware import SLOTS, Slots
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Done,
    Fields,
    Part,
)
from scsi2nvme.drivers.emulated.firmware_image import MAXIMUM_BYTES, Firmware, Needs, parse
from scsi2nvme.drivers.emulated.model import ACTIVATION_STARTING, CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode

_UNIT_BYTES = 4096  # of FWUG
_OACS_FIRMWARE, _ACTIVATION_NOTICES = 1 << 2, 1 << 9
_WITHOUT_RESET, _SEES_OVERLAPS = 1 << 4, 1 << 5  # FRMW
_MTFA = 10  # 100 ms
_CA_PLACE, _FS_PLACE = (40, 3), 40  # byte and bit of the entry


class Action(IntEnum):
    """CA of Firmware Commit. Spec: NVMe Base 2.0c figure 181."""

    REPLACE = 0
    REPLACE_AND_ACTIVATE = 1  # by a reset
    ACTIVATE = 2  # by a reset
    ACTIVATE_AT_ONCE = 3


_NEEDED = {
    Needs.CONTROLLER_RESET: StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET,
    Needs.SUBSYSTEM_RESET: StatusCode.FIRMWARE_NEEDS_SUBSYSTEM_RESET,
    Needs.CONVENTIONAL_RESET: StatusCode.FIRMWARE_NEEDS_CONVENTIONAL_RESET,
}


def _parse_unit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 0xFF):
        raise ValueError("is not a number from 0 to 255")
    return int(text)


FWUG = Option(
    "fwug",
    "N",
    "pieces of firmware images begin at multiples of N times 4 KiB (default 1, emulated only); "
    "0: it is not told, 255: anywhere",
    _parse_unit,
    84,
    "fwug",
    subject="a granularity of firmware images",
)


class Updater(Part):
    """The pieces of an image that came, by offset, and what begins to run."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._model = controller.model
        self._pieces: dict[int, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        fwug: int = controller.settings[FWUG.keyword]
        self._unit = 4 if fwug == 0xFF else _UNIT_BYTES * max(fwug, 1)

    def reset(self) -> None:
        """See Part: an image that was not committed is forgotten."""
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._model.pause(False)

    def close(self) -> None:
        """See Part."""
        if self._timer is not None:
            self._timer.cancel()

    # ---- download ----

    def download(self, command: Values) -> None:
        """Take a piece; one at offset zero begins another image."""
        offset, size = 4 * command.cdw11, 4 * (command.cdw10 + 1)
        if offset % self._unit:
            raise invalid_field(44)
        if offset + size > MAXIMUM_BYTES:
            raise CommandFailed(StatusCode.INVALID_FIRMWARE_IMAGE, 44)
        piece = self._controller.from_host(command, size)
        if not offset:
            self._pieces.clear()
        if any(offset < at + len(one) and at < offset + size for at, one in self._pieces.items()):
            raise CommandFailed(StatusCode.OVERLAPPING_RANGE, 44)
        self._pieces[offset] = piece

    def _image(self) -> Firmware:
        """Return what the pieces make up, which must leave nothing out."""
        image = bytearray()
        for offset, piece in sorted(self._pieces.items()):
            if offset != len(image):
                break
            image += piece
        whole = len(image) == sum(map(len, self._pieces.values()))
        firmware = parse(bytes(image)) if whole else None
        if firmware is None:
            self._pieces.clear()
            raise CommandFailed(StatusCode.INVALID_FIRMWARE_IMAGE)
        return firmware

    # ---- commit ----

    def commit(self, command: Values) -> int | None:
        """Store and activate; return DW0, None if the completion comes later."""
        slots, slot = self._controller.part(Slots), command.cdw10 & 7
        try:
            action = Action(command.cdw10 >> 3 & 7)
        except ValueError:  # there are no boot partitions
            raise invalid_field(*_CA_PLACE) from None
        replaces = action in (Action.REPLACE, Action.REPLACE_AND_ACTIVATE)
        replaces |= action is Action.ACTIVATE_AT_ONCE and bool(self._pieces)
        image = self._image() if replaces else None
        slot = self._slot(slots, slot, writes=image is not None)
        firmware = image or slots.stored[slot]
        if firmware.needs == Needs.PROHIBITED and action is not Action.REPLACE:
            raise CommandFailed(StatusCode.FIRMWARE_ACTIVATION_PROHIBITED)
        at_once = action is Action.ACTIVATE_AT_ONCE
        if at_once and firmware.needs == Needs.NOTHING and firmware.pause > _MTFA:
            raise CommandFailed(StatusCode.FIRMWARE_NEEDS_MAXIMUM_TIME)
        if image is not None:
            slots.stored[slot] = image
            self._pieces.clear()
        return self._activate(command, slots, slot, action)

    def _slot(self, slots: Slots, slot: int, *, writes: bool) -> int:
        """Return the slot that is meant, which must be one that can be used so."""
        if not slot and writes:
            others = range(2, slots.count + 1)
            empty = [each for each in others if each not in slots.stored]
            resting = [each for each in others if each != slots.active]
            slot = (empty or resting or [*others])[0]
        wrong = slot > slots.count or (slot == 1 if writes else slot not in slots.stored)
        if wrong:
            raise CommandFailed(StatusCode.INVALID_FIRMWARE_SLOT, _FS_PLACE)
        return slot

    def _activate(self, command: Values, slots: Slots, slot: int, action: Action) -> int | None:
        """Have a slot run now, or next; what has to be done for that is a status."""
        needs = slots.stored[slot].needs
        if action is Action.ACTIVATE_AT_ONCE and needs == Needs.NOTHING:
            self._begin(slots, slot, self._controller.later(command))
            return None
        if action is not Action.REPLACE:
            slots.next = slot
        slots.save()
        beyond_reset = needs not in (Needs.NOTHING, Needs.CONTROLLER_RESET)
        if action is not Action.REPLACE and (beyond_reset or action is Action.ACTIVATE_AT_ONCE):
            raise CommandFailed(_NEEDED[Needs(needs)])
        return 0

    def _begin(self, slots: Slots, slot: int, done: Done) -> None:
        """Pause, and run what the slot holds afterwards."""
        slots.next = slot  # should a reset come before
        pause = slots.stored[slot].pause / 10
        if pause:
            self._model.notify(ACTIVATION_STARTING)
            self._model.pause(True)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(pause, self._end, slots, slot, done, bool(pause))

    def _end(self, slots: Slots, slot: int, done: Done, paused: bool) -> None:
        self._timer = None
        slots.activate(slot)
        done(StatusCode.SUCCESS)
        if paused:
            self._model.pause(False)


def _download(controller: Controller, command: Values) -> int:
    controller.part(Updater).download(command)
    return 0


def _commit(controller: Controller, command: Values) -> int | None:
    return controller.part(Updater).commit(command)


def _controller(controller: Controller) -> Fields:
    return {
        "oacs": _OACS_FIRMWARE,
        "oaes": _ACTIVATION_NOTICES,
        "frmw": _WITHOUT_RESET | _SEES_OVERLAPS,
        "fwug": controller.settings[FWUG.keyword],
        "mtfa": _MTFA,
    }


CAPABILITY = Capability(
    "firmware update",
    commands=(
        AdminCommand(AdminOpcode.FIRMWARE_COMMIT, _commit),
        AdminCommand(AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD, _download),
    ),
    controller=_controller,
    options=(FWUG,),
    settings={FWUG.keyword: 1},
    start=Updater,
    offered=lambda settings: settings[SLOTS.keyword] > 1,
)
