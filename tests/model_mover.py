"""Moves blocks of logical units whose controllers are models, at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from scsi2nvme.commands.provisioning import zeroes
from scsi2nvme.commands.read_write import data_commands, read_commands
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.copying import copy_command, copy_limits, ranges_of
from scsi2nvme.scsi.result import NvmeError, Result, check_condition
from scsi2nvme.scsi.sense import LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, Sense
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.copies import Fault, Fill, Move, Moved, Moving, Side, Taking
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.tokens import Tokens
from tests.model_controller import ModelController


class ModelMoving(Moving):
    """One move: Copy within a namespace that has it, else Reads and Writes."""

    def __init__(self, models: Mapping[LogicalUnit, ModelController], move: Move) -> None:
        self.models, self.move = models, move

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        ended(self._moved())
        return lambda: None

    def _moved(self) -> Moved:
        move = self.move
        if (sense := move.refused()) is not None:
            return Moved(0, Fault(Side.SOURCE, check_condition(sense)))
        for side, lu, lba in (
            (Side.SOURCE, move.source, move.lba),
            (Side.DESTINATION, move.destination, move.to),
        ):
            if lba + move.blocks > lu.capacity_blocks:
                beyond = check_condition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
                return Moved(0, Fault(side, beyond, in_range=False))
        fault = self._by_copy() if self._copies else self._by_hand()
        return Moved(move.blocks) if fault is None else Moved(0, fault)

    @property
    def _copies(self) -> bool:
        move = self.move
        return move.source is move.destination and copy_limits(move.source.facts) is not None

    def _by_copy(self) -> Fault | None:
        move, limits = self.move, copy_limits(self.move.source.facts)
        assert limits is not None
        for lba, blocks in ranges_of(move.lba, move.blocks, limits.blocks):
            ranges = ranges_of(lba, blocks, limits.blocks_of_range)
            command = copy_command(move.source.nsid, move.to + lba - move.lba, ranges)
            fault = self._failed(Side.DESTINATION, command)[1]
            if fault is not None:
                return fault
        return None

    def _by_hand(self) -> Fault | None:
        move, data = self.move, b""
        source, destination = cast(LogicalUnit, move.source), cast(LogicalUnit, move.destination)
        for command in read_commands(source, move.lba, move.blocks):
            read, fault = self._failed(Side.SOURCE, command)
            if fault is not None:
                return fault
            data += read
        for command in data_commands(Opcode.WRITE, destination, move.to, data):
            _, fault = self._failed(Side.DESTINATION, command)
            if fault is not None:
                return fault
        return None

    def _failed(self, side: Side, command: NvmeCommand) -> tuple[bytes, Fault | None]:
        lu = self.move.source if side is Side.SOURCE else self.move.destination
        (completion,) = self.models[cast(LogicalUnit, lu)].execute(command)
        if not completion.status:
            return completion.data, None
        result: Result = result_of(NvmeError(command, completion))
        return b"", Fault(side, result)


class ModelFilling(Moving):
    """Zeroes, at once."""

    def __init__(self, models: Mapping[LogicalUnit, ModelController], fill: Fill) -> None:
        self.models, self.fill = models, fill

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        lu = cast(LogicalUnit, self.fill.destination)
        for command in zeroes(lu, self.fill.to, self.fill.blocks):
            self.models[lu].execute(command)
        ended(Moved(self.fill.blocks))
        return lambda: None


class ModelTaking(Moving):
    """A token, at once."""

    def __init__(self, taking: Taking) -> None:
        self.taking = taking

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        ended(self.taking.make())
        return lambda: None


def move_on_models(models: Mapping[LogicalUnit, ModelController]) -> None:
    """Have copies between these logical units move blocks of their models."""
    tokens = Tokens()
    for lu in models:
        lu.copies.mover = lambda move: ModelMoving(models, move)
        lu.copies.filler = lambda fill: ModelFilling(models, fill)
        lu.copies.taker = ModelTaking
        lu.rods.tokens = tokens
