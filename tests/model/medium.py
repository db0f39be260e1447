"""A simple model of a disk: what each block may hold, by what initiators were told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Values = frozenset[bytes]
Change = Callable[[bytes], Values]
Changes = Mapping[int, Change]  # by LBA
EVERYTHING = 1 << 64


@dataclass(frozen=True)
class Effect:
    """What a command makes of blocks: surely of those before `sure_until`, perhaps of the others.

    `changes` give what a block may hold then, by what it held.
    """

    changes: Changes = field(default_factory=dict)
    sure_until: int = EVERYTHING


def becomes(data: bytes) -> Change:
    """Return the change that leaves `data`, whatever was there."""
    values = frozenset({data})
    return lambda old: values


def joins(data: bytes) -> Change:
    """Return the change that ORs `data` to what was there."""
    number = int.from_bytes(data, "big")
    size = len(data)
    return lambda old: frozenset({(int.from_bytes(old, "big") | number).to_bytes(size, "big")})


class Medium:
    """Blocks, each with all that it may hold; zeroes at first."""

    def __init__(self, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        self._zeroes = frozenset({bytes(block_bytes)})
        self._blocks: dict[int, Values] = {}
        self._meanwhile: dict[int, Values] = {}

    def may_hold(self, lba: int) -> Values:
        """Return what a block may hold now."""
        return self._blocks.get(lba, self._zeroes)

    def may_be_seen(self, lba: int) -> Values:
        """Return what a block may have held at any time during the commands of the last `apply`."""
        return self._meanwhile.get(lba) or self.may_hold(lba)

    def guess(self, lba: int, blocks: int) -> bytes:
        """Return what blocks hold, as far as that is known, else one of the possibilities."""
        return b"".join(min(self.may_hold(each)) for each in range(lba, lba + blocks))

    def apply(self, effects: Iterable[Effect]) -> None:
        """Let commands that ran side by side have had their effects, in any order."""
        concerned: dict[int, list[tuple[Change, bool]]] = {}
        for effect in effects:
            for lba, change in effect.changes.items():
                concerned.setdefault(lba, []).append((change, lba < effect.sure_until))
        self._meanwhile.clear()
        for lba, changes in concerned.items():
            before = self.may_hold(lba)
            after = _all(changes, before)
            seen = before | after
            if len(changes) > 1:
                for _ in changes[1:]:
                    seen |= _all(changes, seen)
                after = _all(changes, seen)
            if not any(sure for _, sure in changes):
                after |= before
            self._meanwhile[lba] = seen
            self._blocks[lba] = after

    def saw(self, lba: int, block: bytes) -> bool:
        """Whether a block may have held this; if so, and nobody was changing it, it holds it."""
        if block not in self.may_be_seen(lba):
            return False
        if lba not in self._meanwhile:
            self._blocks[lba] = frozenset({block})
        return True


def _all(changes: Iterable[tuple[Change, bool]], values: Values) -> Values:
    return frozenset().union(*[change(value) for change, _ in changes for value in values])
