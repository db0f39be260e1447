"""Initiators that do anything, and what they are told held against the model of a disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from scsi2nvme.command import Hot
from scsi2nvme.nvme.command import Opcode
from tests.model.judgement import CHECK_CONDITION, UNIT_ATTENTION, Judge, Luck
from tests.model.medium import Medium
from tests.model.requests import Wish, request_of, wishes
from tests.model.ways import INITIATORS, Disturbance, Way

CAPACITY = (16 << 20) // 512
_INITIATORS = st.integers(0, INITIATORS - 1)
_CACHING, _CONTROL = 0x08, 0x0A
# Bits that initiators set: page, byte, bit.
_WCE, _D_SENSE, _SWP = (_CACHING, 2, 2), (_CONTROL, 2, 2), (_CONTROL, 4, 3)
_TEST_UNIT_READY = bytes(6)

# Write Fault, Unrecovered Read, Internal Error, Data Transfer Error, Access Denied, Internal Path
# Error, Capacity Exceeded, with DNR or not.
_FAILURES = (0x280, 0x280, 0x281, 0x281, 0x4281, 0x006, 0x004, 0x4286, 0x370, 0x4081)
# Namespace Not Ready, Command Interrupted: tried again after 100 ms, so rarely.
_PASSING = (0x082, 0x021)
_STATUSES = _FAILURES * 8 + _PASSING
_OPCODES = (0xFF, 0xFF, *(int(each) for each in Opcode if each <= Opcode.VERIFY))
_FAIL, _DELAY = 0, 2

faults = st.fixed_dictionaries(
    {
        "opcode": st.sampled_from(_OPCODES),
        "action": st.sampled_from((_FAIL, _FAIL, _FAIL, _DELAY)),
        "status": st.sampled_from(_STATUSES),
        "done": st.booleans(),
        "delay_ms": st.sampled_from((0, 0, 0, 1, 3)),
        "after": st.sampled_from((0, 0, 0, 1, 2, 5)),
        "count": st.sampled_from((0, 1, 2)),
    },
    optional={"lba_first": st.integers(0, 100)},
)


class Machine(RuleBasedStateMachine):
    """Any commands, side by side; misfortune, resets, aborts and settings between and during them.

    A subclass says by `way` through which the logical unit is reached.
    """

    way: Way
    steps = 0  # of all machines

    def __init__(self) -> None:
        super().__init__()
        self.way.renew()
        self.protected = False
        self.medium = Medium(self.way.lu.block_bytes)

    @initialize()
    def begin(self) -> None:
        """Return to defaults and blank blocks."""
        if emulator := self.way.bed.emulator:
            emulator.clear_faults()
        self.way.reset_unit()
        self._hear()
        for lba in range(0, self.way.lu.capacity_blocks, 16384):
            # WRITE SAME (16), NDOB.
            cdb = bytes([0x93, 1]) + lba.to_bytes(8, "big") + (16384).to_bytes(4, "big") + bytes(2)
            outcome = self.way.command(0, cdb, b"", 0)
            assert outcome.good, f"{outcome}"

    def teardown(self) -> None:
        if emulator := self.way.bed.emulator:
            emulator.clear_faults()

    def _judge(self) -> Judge:
        exact = self.way.bed.kind == "emulated"
        return Judge(self.way.lu, self.medium, exact_unmap=exact, protected=self.protected)

    def _hear(self) -> None:
        """Let every initiator take what it is to be told."""
        for each in range(INITIATORS):
            while (outcome := self.way.command(each, _TEST_UNIT_READY, b"", 0)).status:
                assert (outcome.status, outcome.key) == (CHECK_CONDITION, UNIT_ATTENTION)

    # ---- commands ----

    @rule(wanted=st.lists(wishes(CAPACITY), min_size=1, max_size=INITIATORS))
    def commands(self, wanted: list[Wish]) -> None:
        """Commands side by side, with nothing in their way."""
        self._perform(wanted, Disturbance.NONE, Luck.GOOD)

    @rule(wish=wishes(CAPACITY))
    def one_command(self, wish: Wish) -> None:
        """One command."""
        self._perform([wish], Disturbance.NONE, Luck.GOOD)

    @rule(
        wanted=st.lists(wishes(CAPACITY), min_size=1, max_size=INITIATORS),
        misfortune=st.lists(faults, min_size=1, max_size=3),
    )
    def misfortune(self, wanted: list[Wish], misfortune: list[dict[str, Any]]) -> None:
        """Commands of which some pieces fail, or are late, or both."""
        emulator = self.way.bed.emulator
        if emulator is None:
            return
        # What fails after the status is told by another command, of any time: not here.
        wanted = [replace(each, flags={**each.flags, "immed": 0}) for each in wanted]
        for fault in misfortune:
            once = {"count": 1} if fault["status"] in _PASSING else {}
            emulator.add_fault(**{**fault, **once})
        try:
            self._perform(wanted, Disturbance.NONE, Luck.BAD)
        finally:
            emulator.clear_faults()

    def _perform(self, wanted: list[Wish], disturbance: Disturbance, luck: Luck) -> None:
        type(self).steps += 1
        requests = [request_of(wish, self.medium) for wish in wanted]
        outcomes = self.way.perform(requests, disturbance)
        self._judge().settle(list(zip(requests, outcomes, strict=True)), luck)

    # ---- resets ----

    @rule(
        wanted=st.lists(wishes(CAPACITY), max_size=INITIATORS - 1),
        delay_ms=st.sampled_from((0, 2)),
        disturbance=st.sampled_from(
            (Disturbance.CONTROLLER_RESET, Disturbance.UNIT_RESET, Disturbance.UNIT_RESET)
        ),
    )
    def resets(self, wanted: list[Wish], delay_ms: int, disturbance: Disturbance) -> None:
        """A reset while commands are under way: of the controller, initiators see a pause only."""
        emulator = self.way.bed.emulator
        if emulator is not None and delay_ms:
            emulator.add_fault(action=_DELAY, delay_ms=delay_ms)
        unit = disturbance is Disturbance.UNIT_RESET
        if not unit and self.way.bed.kind == "qemu":
            # QEMU crashes (SIGSEGV) when it is reset while it compares, verifies or deallocates.
            wanted = [each for each in wanted if each.row.hot is not Hot.NO]
        try:
            self._perform(wanted, disturbance, Luck.ABORTED if unit else Luck.PAUSED)
        finally:
            if emulator is not None:
                emulator.clear_faults()
        if unit:
            self.protected = False
            self._hear()

    @rule(wish=wishes(CAPACITY), delay_ms=st.sampled_from((0, 3)), opcode=st.sampled_from(_OPCODES))
    def abort(self, wish: Wish, delay_ms: int, opcode: int) -> None:
        """A command that its initiator aborts; what is late may be the one or the other piece."""
        emulator = self.way.bed.emulator
        if emulator is not None and delay_ms:
            emulator.add_fault(action=_DELAY, delay_ms=delay_ms, opcode=opcode, after=1)
        type(self).steps += 1
        try:
            request = request_of(wish, self.medium)
            outcome = self.way.abort(request)
        finally:
            if emulator is not None:
                emulator.clear_faults()
        self._judge().settle([(request, outcome)], Luck.ABORTED)

    # ---- settings ----

    @rule(
        initiator=_INITIATORS, bit=st.sampled_from((_WCE, _D_SENSE, _SWP)), value=st.integers(0, 3)
    )
    def setting(self, initiator: int, bit: tuple[int, int, int], value: int) -> None:
        """MODE SELECT of a bit, which others are told of."""
        type(self).steps += 1
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
        self._hear()


def machine(through: Way) -> type[Machine]:
    """Return the machine that reaches a logical unit by `through`."""
    members: dict[str, Any] = {"way": through, "__module__": __name__}
    return type("Machine", (Machine,), members)
