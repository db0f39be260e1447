"""Initiators that do anything, and what they are told held against the model of a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scsi2nvme.nvme.command import Opcode
from tests.model.choices import Choices
from tests.model.judgement import Judge, Luck
from tests.model.medium import Medium
from tests.model.requests import Wish, request_of, wish_of
from tests.model.ways import INITIATORS, Disturbance, Way

CAPACITY = (16 << 20) // 512
_CACHING, _CONTROL = 0x08, 0x0A
# Bits that initiators set: page, byte, bit.
_WCE, _D_SENSE, _SWP = (_CACHING, 2, 2), (_CONTROL, 2, 2), (_CONTROL, 4, 3)

# Write Fault, Unrecovered Read, Internal Error, Data Transfer Error, Access Denied, Internal Path
# Error, Capacity Exceeded, with DNR or not.
_FAILURES = (0x280, 0x280, 0x281, 0x281, 0x4281, 0x006, 0x004, 0x4286, 0x370, 0x4081)
# Namespace Not Ready, Command Interrupted: tried again after 100 ms, so rarely.
_NOT_READY = 0x082  # tells that nothing was done
_PASSING = (_NOT_READY, 0x021)
_STATUSES = _FAILURES * 8 + _PASSING
_OPCODES = (0xFF, 0xFF, *(int(each) for each in Opcode if each <= Opcode.VERIFY))
_FAIL, _DELAY = 0, 2
# It is ended by SIGSEGV when it is reset while one of these is under way.
_CRASHES_QEMU = {"Compare", "Dataset Management", "Verify"}


Fault = dict[str, Any]


def _fault(choose: Choices) -> Fault:
    fault = {
        "opcode": choose.one(_OPCODES),
        "action": choose.one((_FAIL, _FAIL, _FAIL, _DELAY)),
        "status": choose.one(_STATUSES),
        "done": bool(choose.number(0, 1)),
        "delay_ms": choose.one((0, 0, 0, 1, 3)),
        "after": choose.one((0, 0, 0, 1, 2, 5)),
        "count": choose.one((0, 1, 2)),
    }
    if fault["status"] == _NOT_READY:
        fault["done"] = False
    if choose.number(0, 1):
        fault["lba_first"] = choose.number(0, 100)
    return fault


def _wishes(choose: Choices, least: int = 1, most: int = INITIATORS) -> list[Wish]:
    return [wish_of(choose, CAPACITY) for _ in range(choose.number(least, most))]


class Initiators:
    """Any commands, side by side; misfortune, resets, aborts and settings between and during them.

    `way` is how they reach the logical unit. `steps` counts what all of them did.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self.steps = 0
        self.protected = False
        self._goes_on = False  # a command may, after its status
        self.medium = Medium(way.lu.block_bytes)

    def begin(self) -> None:
        """Return to defaults and blank blocks."""
        self.way.renew()
        self.protected = False
        self.medium = Medium(self.way.lu.block_bytes)
        self.end()
        self.way.reset_unit()
        self._goes_on = False
        self.way.bed.blank()

    def end(self) -> None:
        """Leave no misfortune behind."""
        if emulator := self.way.bed.emulator:
            emulator.clear_faults()

    def _judge(self) -> Judge:
        exact = self.way.bed.kind == "emulated"
        return Judge(self.way.lu, self.medium, exact_unmap=exact, protected=self.protected)

    # ---- commands ----

    def commands(self, wanted: list[Wish]) -> None:
        """Commands side by side, with nothing in their way."""
        self._perform(wanted, Disturbance.NONE, Luck.GOOD)

    def one_command(self, wish: Wish) -> None:
        """One command."""
        self._perform([wish], Disturbance.NONE, Luck.GOOD)

    def misfortune(self, wanted: list[Wish], misfortune: list[dict[str, Any]]) -> None:
        """Commands of which some pieces fail, or are late, or both."""
        emulator = self.way.bed.emulator
        if emulator is None:
            return
        # What fails after the status is told by another command, of any time: not here.
        if self._goes_on:
            self.way.settle()
            self._goes_on = False
        wanted = [replace(each, flags={**each.flags, "immed": 0}) for each in wanted]
        for fault in misfortune:
            once = {"count": 1} if fault["status"] in _PASSING else {}
            emulator.add_fault(**{**fault, **once})
        try:
            self._perform(wanted, Disturbance.NONE, Luck.BAD)
        finally:
            emulator.clear_faults()

    def _perform(self, wanted: list[Wish], disturbance: Disturbance, luck: Luck) -> None:
        self.steps += 1
        requests = [request_of(wish, self.medium) for wish in wanted]
        self._goes_on |= any(each.values.get("immed") for each in requests)
        outcomes = self.way.perform(requests, disturbance)
        self._judge().settle(list(zip(requests, outcomes, strict=True)), luck)

    # ---- resets ----

    def resets(self, wanted: list[Wish], delay_ms: int, disturbance: Disturbance) -> None:
        """A reset while commands are under way: of the controller, initiators see a pause only."""
        emulator = self.way.bed.emulator
        if emulator is not None and delay_ms:
            emulator.add_fault(action=_DELAY, delay_ms=delay_ms)
        unit = disturbance is Disturbance.UNIT_RESET
        if not unit and self.way.bed.kind == "qemu":
            wanted = [each for each in wanted if _CRASHES_QEMU.isdisjoint(each.row.nvme)]
        try:
            self._perform(wanted, disturbance, Luck.ABORTED if unit else Luck.PAUSED)
        finally:
            if emulator is not None:
                emulator.clear_faults()
        if unit:
            self.protected = False

    def abort(self, wish: Wish, delay_ms: int, opcode: int) -> None:
        """A command that its initiator aborts; what is late may be the one or the other piece."""
        emulator = self.way.bed.emulator
        if emulator is not None and delay_ms:
            emulator.add_fault(action=_DELAY, delay_ms=delay_ms, opcode=opcode, after=1)
        self.steps += 1
        try:
            request = request_of(wish, self.medium)
            self._goes_on |= bool(request.values.get("immed"))
            outcome = self.way.abort(request)
        finally:
            if emulator is not None:
                emulator.clear_faults()
        self._judge().settle([(request, outcome)], Luck.ABORTED)

    # ---- settings ----

    def setting(self, initiator: int, bit: tuple[int, int, int], value: int) -> None:
        """MODE SELECT of a bit, which others are told of."""
        self.steps += 1
        page, byte, shift = bit
        value = int(value == 3) if bit == _SWP else value & 1
        sense = bytes([0x1A, 8, page, 0, 0xFF, 0])
        shown = self.way.command(initiator, sense, b"", 255)
        assert shown.good, f"{shown}"
        changed = bytearray(shown.data)
        changed[0] = changed[2] = 0
        changed[4] &= 0x3F
        changed[4 + byte] = changed[4 + byte] & ~(1 << shift) | value << shift
        select = bytes([0x15, 0x10, 0, 0, len(changed), 0])
        outcome = self.way.command(initiator, select, bytes(changed), 0)
        assert outcome.good, f"{outcome}"
        if bit == _SWP:
            self.protected = bool(value)
        self.way.hear()


# What initiators do, and how the values of each are chosen.
KINDS: Mapping[str, Callable[[Choices], dict[str, Any]]] = {
    "commands": lambda choose: {"wanted": _wishes(choose)},
    "one_command": lambda choose: {"wish": wish_of(choose, CAPACITY)},
    "misfortune": lambda choose: {
        "wanted": _wishes(choose),
        "misfortune": [_fault(choose) for _ in range(choose.number(1, 3))],
    },
    "resets": lambda choose: {
        "wanted": _wishes(choose, 0, INITIATORS - 1),
        "delay_ms": choose.one((0, 2)),
        "disturbance": choose.one(
            (Disturbance.CONTROLLER_RESET, Disturbance.UNIT_RESET, Disturbance.UNIT_RESET)
        ),
    },
    "abort": lambda choose: {
        "wish": wish_of(choose, CAPACITY),
        "delay_ms": choose.one((0, 3)),
        "opcode": choose.one(_OPCODES),
    },
    "setting": lambda choose: {
        "initiator": choose.number(0, INITIATORS - 1),
        "bit": choose.one((_WCE, _D_SENSE, _SWP)),
        "value": choose.number(0, 3),
    },
}
