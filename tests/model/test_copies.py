"""Copies held against the model of a disk: a token stands for what there was, or is refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands.test_extended_copy import parameters, segment
from tests.commands.test_rod_tokens import ZERO, populating, writing
from tests.model.judgement import Outcome
from tests.model.medium import Effect, Medium, becomes
from tests.model.requests import pattern
from tests.model.ways import BLOCK_BYTES, Bed, ThroughPortal
from tests.support import row

SPAN = 96  # blocks, so that commands meet
STEPS = 150
OWN = 0xFFFF  # the logical unit itself, as a CSCD descriptor identifier
TOKEN_AT = 38  # in RECEIVE ROD TOKEN INFORMATION's data
REVOKED, OVERLAPS = (5, 0x2306), (5, 0x260C)

Ranges = Sequence[tuple[int, int]]


@dataclass
class Token:
    data: bytes
    ranges: Ranges
    content: bytes
    revoked: bool = False

    def meets(self, ranges: Ranges) -> bool:
        return any(
            lba < to + count and to < lba + blocks
            for lba, blocks in self.ranges
            for to, count in ranges
        )


class Copier:
    """Two initiators that write and copy, and what the disk must hold then."""

    def __init__(self, way: ThroughPortal, seed: int) -> None:
        self.way, self.dice = way, random.Random(seed)
        self.medium = Medium(BLOCK_BYTES)
        self.tokens: list[Token] = []
        self.steps = 0

    def send(self, initiator: int, name: str, data: bytes, **values: int) -> Outcome:
        cdb = row(name).build(parameter_list_length=len(data), **values)
        return self.way.command(initiator, cdb, data, 0)

    def ranges(self, most: int = 3) -> Ranges:
        """Return ranges that are apart."""
        free = list(range(0, SPAN, 8))
        starts = self.dice.sample(free, self.dice.randint(1, most))
        return [(lba + self.dice.randint(0, 3), self.dice.randint(1, 5)) for lba in starts]

    def holds(self, ranges: Ranges, data: bytes) -> None:
        """Blocks are known to hold this now."""
        lbas = [lba for start, blocks in ranges for lba in range(start, start + blocks)]
        parts = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
        changes = {lba: becomes(part) for lba, part in zip(lbas, parts, strict=True)}
        self.medium.apply([Effect(changes)])
        for token in self.tokens:
            token.revoked |= token.meets(ranges)

    def content(self, ranges: Ranges) -> bytes:
        return b"".join(self.medium.guess(lba, blocks) for lba, blocks in ranges)

    def new_data(self, blocks: int) -> bytes:
        self.steps += 1
        return b"".join(pattern(self.steps, index, BLOCK_BYTES) for index in range(blocks))

    def look(self) -> None:
        cdb = row("READ (10)").build(lba=0, transfer_length=SPAN + 8)
        found = self.way.command(0, cdb, b"", (SPAN + 8) * BLOCK_BYTES)
        assert found.data == self.medium.guess(0, SPAN + 8)

    # What they do

    def write(self) -> None:
        ((lba, blocks),) = self.ranges(1)
        data = self.new_data(blocks)
        cdb = row("WRITE (10)").build(lba=lba, transfer_length=blocks)
        assert not self.way.command(self.dice.randint(0, 1), cdb, data, 0).status
        self.holds([(lba, blocks)], data)

    def populate(self) -> None:
        ranges = self.ranges()
        token = Token(self.token_of(ranges), ranges, self.content(ranges))
        self.tokens = [*self.tokens[-5:], token]

    def token_of(self, ranges: Ranges) -> bytes:
        assert not self.send(0, "POPULATE TOKEN", populating(ranges), list_identifier=1).status
        cdb = row("RECEIVE ROD TOKEN INFORMATION").build(list_identifier=1, allocation_length=1024)
        return self.way.command(0, cdb, b"", 1024).data[TOKEN_AT:]

    def use(self) -> None:
        if not self.tokens:
            return
        token, to = self.dice.choice(self.tokens), self.ranges()
        wanted = sum(blocks for _, blocks in to)
        room = len(token.content) // BLOCK_BYTES - wanted
        if room < 0:
            return
        offset = self.dice.randint(0, room)
        data = writing(token.data, to, offset_into_rod=offset)
        done = self.send(self.dice.randint(0, 1), "WRITE USING TOKEN", data, list_identifier=2)
        if token.revoked or token.meets(to):
            assert (done.key, done.code) == (REVOKED if token.revoked else OVERLAPS)
        else:
            assert not done.status
            at = offset * BLOCK_BYTES
            self.holds(to, token.content[at : at + wanted * BLOCK_BYTES])

    def fill(self) -> None:
        to = self.ranges()
        data = writing(ZERO, to)
        assert not self.send(0, "WRITE USING TOKEN", data, list_identifier=2).status
        self.holds(to, bytes(sum(blocks for _, blocks in to) * BLOCK_BYTES))

    def copy(self) -> None:
        pieces = [(self.ranges(1)[0], self.ranges(1)[0][0]) for _ in range(2)]
        segments = [segment(lba, to, blocks, OWN, OWN) for (lba, blocks), to in pieces]
        name = self.dice.choice(("EXTENDED COPY (LID1)", "EXTENDED COPY (LID4)"))
        data = parameters([], segments, long=name.endswith("4)"), list_identifier=3)
        assert not self.send(0, name, data).status
        for (lba, blocks), to in pieces:
            self.holds([(to, blocks)], self.content([(lba, blocks)]))

    def use_beside_a_write(self) -> None:
        """What is told to be done is what the token stood for, whatever is written meanwhile."""
        ((lba, blocks),) = self.ranges(1)
        ranges, to = [(lba, blocks)], [(SPAN, blocks)]
        before, data = self.content(ranges), self.new_data(blocks)
        token = self.token_of(ranges)
        uses, writes = self.way._initiators[:2]
        using = writing(token, to)
        cdb = row("WRITE USING TOKEN").build(list_identifier=2, parameter_list_length=len(using))
        using_tag = uses.begin(0, cdb, data_out=using)
        cdb = row("WRITE (10)").build(lba=lba, transfer_length=blocks)
        tag = writes.begin(0, cdb, data_out=data)
        done = uses.finish(using_tag, 0, using)
        assert not writes.finish(tag, 0, data).status
        self.holds(ranges, data)
        if done.status:
            assert done.sense_triple == (5, 0x23, 0x06)
            cdb = row("WRITE (10)").build(lba=SPAN, transfer_length=blocks)
            assert not self.way.command(0, cdb, before, 0).status
        self.holds(to, before)


@pytest.mark.parametrize("seed", [1, 2])
def test_copies_keep_to_the_model(seed: int, tmp_path: Path) -> None:
    with closing(Bed("emulated", tmp_path / "disk")) as bed, closing(ThroughPortal(bed)) as way:
        way.renew()
        one = Copier(way, seed)
        kinds = (one.write, one.write, one.populate, one.use, one.use, one.fill, one.copy)
        for _ in range(STEPS):
            one.dice.choice((*kinds, one.use_beside_a_write))()
            one.look()
