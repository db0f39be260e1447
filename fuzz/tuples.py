"""Protection information that travels, held against the standard's tables.

The engine runs over the emulated controller, which knows nothing of SCSI: what either does wrong
shows. Spec: SBC-3 4.22.2 (types), 5.11, 5.33, 5.29, 5.43 (tables of RDPROTECT and its like).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Data, Transfer
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.executor import play
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_nexus
from scsi2nvme.fuzz.t10_dif import guard
from scsi2nvme.scsi.result import Result
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.application_tag import APPLICATION_TAG
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.mode_pages.page import PageControl

_BLOCK, _TUPLE = 512, 8
_BLOCKS = 2048
_LONG = 32  # bytes of a CDB
_GUARD, _APPLICATION, _REFERENCE = "guard", "application", "reference"
_CHECKED = {  # by the code in the CDB, of tuples that travel
    1: (_GUARD, _APPLICATION, _REFERENCE),
    2: (_APPLICATION, _REFERENCE),
    3: (),
    4: (_GUARD,),
    5: (_GUARD, _APPLICATION, _REFERENCE),
}
_FAILED = {
    _GUARD: (0xB, 0x10, 0x01),
    _APPLICATION: (0xB, 0x10, 0x02),
    _REFERENCE: (0xB, 0x10, 0x03),
}
_INVALID_OPCODE, _INVALID_FIELD = (0x5, 0x20, 0x00), (0x5, 0x24, 0x00)
Sense = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """Some blocks of a disk of a type, with what the CDB says of them.

    `tag` is what the first reference tag is to be. Application tags are the initiator's own if they
    are `owned`: then they are to be one of `pages`, of blocks before and from `edge` on (ATMPE), or
    what a 32-byte CDB expects, in the bits of `mask`.
    """

    kind: int
    lba: int
    tag: int
    code: int
    long: bool
    owned: bool = False
    pages: tuple[int, ...] = ()
    edge: int = 0
    application: int = 0
    mask: int = 0

    def expected_tag(self, n: int) -> int:
        """Return the reference tag of block `n`."""
        return self.tag + (0 if self.kind == 3 else n) & 0xFFFFFFFF

    @property
    def checks(self) -> tuple[str, ...]:
        """What is checked; where the code is zero, of what is on the medium."""
        checks = _CHECKED.get(self.code, (_GUARD, _APPLICATION, _REFERENCE))
        known = self.kind == 1 or (self.kind == 2 and self.long)
        return checks if known else tuple(each for each in checks if each is not _REFERENCE)

    def application_tag(self, n: int) -> int:
        """Return the application tag that block `n` is to have, where any is expected."""
        return self.application if self.long else self.pages[self.lba + n >= self.edge]

    def right_application_tag(self, n: int, tag: int) -> bool:
        """Whether the application tag of block `n` is what is expected of it, if anything is."""
        if self.long:
            return not (self.owned and (tag ^ self.application) & self.mask)
        return not self.pages or tag == self.application_tag(n)

    @property
    def refusal(self) -> Sense | None:
        """How the CDB is refused, whatever the data are."""
        if self.long != (self.kind == 2) and (self.long or self.code in _CHECKED):
            return _INVALID_OPCODE
        return None if self.code in (0, *_CHECKED) else _INVALID_FIELD

    def fault(self, blocks: list[bytes]) -> Sense | None:
        """Return how the first block with a tuple that does not pass is told of."""
        for n, block in enumerate(blocks):
            data, tuple_ = block[:_BLOCK], block[_BLOCK:]
            if tuple_[2:4] == b"\xff\xff" and (self.kind != 3 or tuple_[4:] == b"\xff" * 4):
                continue
            right = {
                _GUARD: tuple_[:2] == guard(data).to_bytes(2, "big"),
                _APPLICATION: self.right_application_tag(n, int.from_bytes(tuple_[2:4], "big")),
                _REFERENCE: tuple_[4:] == self.expected_tag(n).to_bytes(4, "big"),
            }
            for check in self.checks:
                if not right[check]:
                    return _FAILED[check]
        return None


def rows() -> Iterator[Command]:
    """Return what moves, verifies or repeats blocks with their tuples, and needs no more."""
    kinds = (Transfer.BLOCKS, Transfer.BYTCHK, Transfer.ONE_BLOCK, Transfer.ONE_BLOCK_UNLESS_NDOB)
    for row in commands.COMMANDS:
        if row.protect_field and row.transfer in kinds and not row.whole:
            yield row


@st.composite
def _blocks(draw: st.DrawFn, case: Case, count: int) -> list[bytes]:
    """Return blocks with tuples, of which one may be wrong in one place."""
    application = draw(st.sampled_from((0, 0x1234, 0xFFFE, 0xFFFF)))
    as_expected = draw(st.booleans())
    blocks = []
    for n in range(count):
        if as_expected and case.owned and (case.long or case.pages):
            application = case.application_tag(n)
        data = draw(st.binary(min_size=1, max_size=4)).ljust(4) * (_BLOCK // 4)
        tuple_ = guard(data).to_bytes(2, "big") + application.to_bytes(2, "big")
        blocks.append(bytearray(data + tuple_ + case.expected_tag(n).to_bytes(4, "big")))
    if draw(st.booleans()):
        wrong = draw(st.sampled_from(blocks))
        wrong[draw(st.sampled_from((0, 512, 513, 514, 516, 519)))] ^= 1 << draw(st.integers(0, 7))
    return [bytes(each) for each in blocks]


def are_checked(row: Command, data: st.DataObject) -> None:
    """Tuples are checked, kept and made as type and code have it, and no others."""
    long = row.length == _LONG
    kind = data.draw(st.sampled_from((2, 2, 2, 1) if long else (1, 1, 2, 3)))
    lba, count = data.draw(st.integers(0, _BLOCKS - 8)), data.draw(st.integers(1, 4))
    any_tag = data.draw(st.sampled_from((0, 0x12345678, 0xFFFFFFFE)))
    code = data.draw(st.sampled_from((0, 1, 1, 2, 3, 4, 5, 6, 7)))
    owned = data.draw(st.booleans())
    paged = owned and not long and data.draw(st.booleans())
    tag = st.sampled_from((0x1234, 0xBEEF, 0))
    case = Case(
        *(kind, lba, lba if kind == 1 else any_tag, code, long, owned),
        pages=(data.draw(tag), data.draw(tag)) if paged else (),
        # What writes across the edge may have written before it what is right.
        edge=lba + (data.draw(st.integers(0, count)) if row.data is Data.IN else 0),
        application=data.draw(tag),
        mask=data.draw(st.sampled_from((0xFFFF, 0x00FF, 0))),
    )
    stored, sent = data.draw(_blocks(case, count)), data.draw(_blocks(case, count))
    asyncio.run(_Bench(row, case, stored, sent).run())


class _Bench:
    """A disk whose blocks are `stored`, and a command for them with `sent` data."""

    def __init__(self, row: Command, case: Case, stored: list[bytes], sent: list[bytes]) -> None:
        self._row, self._case, self._stored, self._sent = row, case, stored, sent
        self._count = len(stored)

    async def run(self) -> None:
        """Store the blocks, send the command, and look at what has become of them."""
        settings = {"metadata_bytes": _TUPLE, "extended": True, "protection_type": self._case.kind}
        settings |= {"streams": 8}
        options = EmulatedOptions(size_bytes=_BLOCK * _BLOCKS, settings=settings, vectors=2)
        self._controller = await Controller.open(
            EmulatedTransport(options), io_queues=1, pool_bytes=1 << 20
        )
        try:
            lu = self._lu = LogicalUnit(self._controller.namespaces[1])
            self._nexus = make_nexus("a", lu)
            self._nexus.delivery = ServiceDelivery(protection=True)
            await self._write_as_it_is()
            await self._own()
            await self._judge()
        finally:
            await self._controller.close()

    async def _execute(self, cdb: bytes, data_out: bytes = b"") -> Result:
        request = engine.select(self._nexus, 0, cdb)
        return await play(engine.run(request, data_out), self._controller)

    def _cdb(self, name: str, code: int, **fields: int) -> bytes:
        (row,) = (each for each in commands.COMMANDS if each.name == name)
        values = {"lba": self._case.lba, row.length_field: self._count, row.protect_field: code}
        if row.length == _LONG:
            values["expected_initial_reference_tag"] = self._case.tag
            values["expected_application_tag"] = self._case.application
            values["application_tag_mask"] = self._case.mask
        return row.build(**values, **fields)

    def _plain(self, kind: str) -> str:
        return f"{kind} ({_LONG if self._case.kind == 2 else 16})"

    async def _write_as_it_is(self) -> None:
        cdb = self._cdb(self._plain("WRITE"), 3)
        self._require(
            await self._execute(cdb, b"".join(self._stored)), None, "blocks to begin with"
        )

    async def _own(self) -> None:
        """Have application tags be the initiator's own, as the case has it."""
        case = self._case
        if not case.owned:
            return
        control = bytearray(self._lu.mode.values(CONTROL, PageControl.CURRENT))
        CONTROL.layout.write(control, ato=1, atmpe=bool(case.pages))
        pages = [CONTROL.with_header(bytes(control), saveable=False)]
        if case.pages:
            ranges = {"lba_1": case.edge, "count_0": case.edge, "count_1": _BLOCKS - case.edge}
            tags = {"tag_0": case.pages[0], "tag_1": case.pages[1]}
            own = APPLICATION_TAG.layout.build(last_1=1, **ranges, **tags)
            pages.insert(0, APPLICATION_TAG.with_header(own, saveable=False))
        data = bytes(8) + b"".join(pages)
        (row,) = (each for each in commands.COMMANDS if each.name == "MODE SELECT (10)")
        cdb = row.build(pf=1, parameter_list_length=len(data))
        self._require(await self._execute(cdb, data), None, "mode pages")

    async def _medium(self) -> list[bytes]:
        read = (await self._execute(self._cdb(self._plain("READ"), 3))).data_in
        size = _BLOCK + _TUPLE
        return [read[at : at + size] for at in range(0, len(read), size)]

    def _require(self, result: Result, wanted: Sense | None, what: str) -> None:
        code = result.sense.code if result.sense is not None else None
        told = (int(code.key), code.asc, code.ascq) if code is not None else None
        if told != wanted:
            field = self._row.protect_field
            raise Finding(self._row, field, f"{self._case}: {what}: {told}, not {wanted}")

    async def _judge(self) -> None:
        case, row = self._case, self._row
        repeats = row.transfer in (Transfer.ONE_BLOCK, Transfer.ONE_BLOCK_UNLESS_NDOB)
        sends = row.name.startswith("WRITE")
        sent = self._sent[:1] if repeats else self._sent
        data_out = b"".join(each if case.code else each[:_BLOCK] for each in sent)
        result = await self._execute(self._cdb(row.name, case.code), data_out if sends else b"")
        looked_at = [] if sends and not case.code else sent if sends else self._stored
        fault = case.refusal or case.fault(looked_at)
        self._require(result, fault, "the command")
        if fault or not sends:
            if not sends and not fault and row.name.startswith("READ"):
                whole = b"".join(e if case.code else e[:_BLOCK] for e in self._stored)
                self._check(result.data_in == whole, "other data are read")
            self._check(await self._medium() == self._stored, "blocks are changed")
            return
        await self._judge_written(sent, repeats=repeats)

    async def _judge_written(self, sent: list[bytes], *, repeats: bool) -> None:
        """Blocks are what was sent, with those tuples, or with such as pass every check."""
        case, medium = self._case, await self._medium()
        wanted = sent * self._count if repeats else sent
        self._check([e[:_BLOCK] for e in medium] == [e[:_BLOCK] for e in wanted], "other data")
        if not case.code:
            if case.owned:
                self._check(all(e[514:516] == b"\xff\xff" for e in medium), "tags that nobody gave")
            made = Case(case.kind, case.lba, case.tag, 1, case.long)
            self._check(made.fault(medium) is None, "tuples that were made do not pass")
            return
        first = int.from_bytes(sent[0][-4:], "big")
        for n, (block, each) in enumerate(zip(medium, wanted, strict=True)):
            counts = repeats and case.kind != 3
            tag = first + n & 0xFFFFFFFF if counts else int.from_bytes(each[-4:], "big")
            self._check(block[:-4] == each[:-4], f"guard or application tag of block {n}")
            self._check(block[-4:] == tag.to_bytes(4, "big"), f"reference tag of block {n}")

    def _check(self, holds: bool, message: str) -> None:
        if not holds:
            raise Finding(self._row, self._row.protect_field, f"{self._case}: {message}")
