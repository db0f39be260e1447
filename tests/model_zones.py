"""Zones for the model of a controller: states, write pointers, limits of open zones.

A verified fake as `ModelController` is: `tests/integration/test_zones.py` asks the same of
controllers. Writes that come to the limit fail: this one closes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.zoned import ZONE, ZONE_REPORT_HEADER, ZoneAction, ZoneState
from tests.model_controller import ModelController, StatusError

OPEN = (ZoneState.IMPLICITLY_OPENED, ZoneState.EXPLICITLY_OPENED)
UNUSABLE = {
    ZoneState.FULL: StatusCode.ZONE_IS_FULL,
    ZoneState.READ_ONLY: StatusCode.ZONE_IS_READ_ONLY,
    ZoneState.OFFLINE: StatusCode.ZONE_IS_OFFLINE,
}
_LISTED = {5: ZoneState.FULL, 6: ZoneState.READ_ONLY, 7: ZoneState.OFFLINE}  # ZRASF
_E, _I, _X, _C, _F = (
    ZoneState.EMPTY,
    ZoneState.IMPLICITLY_OPENED,
    ZoneState.EXPLICITLY_OPENED,
    ZoneState.CLOSED,
    ZoneState.FULL,
)
# From which states an action leads to another; of these, which Select All takes.
TRANSITIONS = {
    ZoneAction.CLOSE: (_C, (_I, _X, _C), (_I, _X)),
    ZoneAction.FINISH: (_F, (_E, _I, _X, _C, _F), (_I, _X, _C)),
    ZoneAction.OPEN: (_X, (_E, _I, _X, _C), (_C,)),
    ZoneAction.RESET: (_E, (_E, _I, _X, _C, _F), (_I, _X, _C, _F)),
}


class ModelZones:
    """The zones of a `ModelController`: `states` and `pointers` by zone number."""

    def __init__(self, model: ModelController) -> None:
        self.model = model
        zones = model.facts.zones
        assert zones is not None
        self.zones = zones
        self.count = model.facts.capacity_blocks // zones.size
        self.states = [ZoneState.EMPTY] * self.count
        self.pointers = [zones.size * n for n in range(self.count)]
        for opcode in (Opcode.WRITE, Opcode.WRITE_ZEROES):
            model.io[opcode] = self._in_zone(model.io[opcode])
        model.io[Opcode.ZONE_MANAGEMENT_SEND] = self._send
        model.io[Opcode.ZONE_MANAGEMENT_RECEIVE] = self._receive

    def _in_zone(
        self, handler: Callable[[NvmeCommand], bytes | Completion | None]
    ) -> Callable[[NvmeCommand], bytes | Completion | None]:
        def write(command: NvmeCommand) -> None:
            number = command.slba // self.zones.size
            if self.states[number] in UNUSABLE:
                raise StatusError(UNUSABLE[self.states[number]])
            if command.slba != self.pointers[number]:
                raise StatusError(StatusCode.ZONE_INVALID_WRITE)
            end = number * self.zones.size + self.zones.capacity
            if command.slba + command.blocks > end:
                raise StatusError(StatusCode.ZONE_BOUNDARY_ERROR)
            if self.states[number] not in OPEN:
                self._open(number, ZoneState.IMPLICITLY_OPENED)
            handler(command)
            self.pointers[number] += command.blocks
            if self.pointers[number] == end:
                self.states[number] = ZoneState.FULL

        return write

    def _open(self, number: int, state: ZoneState) -> None:
        most = self.zones.most_open
        opened = sum(each in OPEN for each in self.states)
        if self.states[number] not in OPEN and most is not None and opened >= most:
            raise StatusError(StatusCode.TOO_MANY_OPEN_ZONES)
        self.states[number] = state

    def _send(self, command: NvmeCommand) -> None:
        action = ZoneAction(command.cdw13 & 0xFF)
        _, allowed, together = TRANSITIONS[action]
        if command.cdw13 >> 8 & 1:
            for number, state in enumerate(self.states):
                if state in together:
                    self._change(number, action)
            return
        number = command.slba // self.zones.size
        if self.states[number] not in allowed:
            raise StatusError(StatusCode.INVALID_ZONE_TRANSITION)
        self._change(number, action)

    def _change(self, number: int, action: ZoneAction) -> None:
        state = TRANSITIONS[action][0]
        if action is ZoneAction.OPEN:
            self._open(number, state)
        else:
            self.states[number] = state
        if action is ZoneAction.RESET:
            start = number * self.zones.size
            self.pointers[number] = start
            size = self.model.facts.block_bytes
            place = slice(start * size, (start + self.zones.size) * size)
            self.model.medium[place] = bytes(self.zones.size * size)

    def _listed(self, command: NvmeCommand) -> Iterator[bytes]:
        option = command.cdw13 >> 8 & 0xFF
        for number in range(command.slba // self.zones.size, self.count):
            state = self.states[number]
            if option in (0, state if state < 5 else None) or _LISTED.get(option) is state:
                yield ZONE.build(
                    zt=2,
                    zs=state,
                    zcap=self.zones.capacity,
                    zslba=number * self.zones.size,
                    wp=(1 << 64) - 1 if state in UNUSABLE else self.pointers[number],
                )

    def _receive(self, command: NvmeCommand) -> bytes:
        listed = list(self._listed(command))
        fitting = listed[: command.data_in // ZONE.size - 1]
        partial = command.cdw13 >> 16 & 1
        header = ZONE_REPORT_HEADER.build(nz=len(fitting if partial else listed))
        return b"".join((header, *fitting)).ljust(command.data_in, b"\0")
