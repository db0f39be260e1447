"""No NVMe command leaves its CDB's blocks or breaks a limit, and the blocks add up."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from scsi2nvme import engine
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.commands import provisioning
from scsi2nvme.fields import Values
from scsi2nvme.fuzz import parameters, strategies
from scsi2nvme.fuzz.controller import content, play
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.medium import Medium, joined, ranges
from scsi2nvme.fuzz.situations import make_unit
from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES

_LONG = 0x7F  # the operation code of 32-byte CDBs
_MOST_COMMANDS = 2000  # that one translation may send here

_FUA, _DEAC = 1 << 30, 1 << 25
_NLB = 0xFFFF
# What may be set in CDW12. Spec: NVM Command Set 1.0 3.2.
_DTYPE = 0xF << 20
_CDW12 = {
    Opcode.FLUSH: 0,
    Opcode.READ: _NLB | _FUA,
    Opcode.WRITE: _NLB | _FUA,
    Opcode.COMPARE: _NLB,
    Opcode.VERIFY: _NLB,
    Opcode.WRITE_ZEROES: _NLB | _DEAC,
    Opcode.WRITE_UNCORRECTABLE: _NLB,
    Opcode.DATASET_MANAGEMENT: 0,
}
_ONCS_BIT = {
    Opcode.COMPARE: 0,
    Opcode.WRITE_UNCORRECTABLE: 1,
    Opcode.DATASET_MANAGEMENT: 2,
    Opcode.WRITE_ZEROES: 3,
    Opcode.VERIFY: 7,
}
# PRINFO where the controller makes and checks all protection information, and the initial
# reference tag, None: that of the LBA. By type.
_PRINFO, _PRACT, _GUARD, _REFERENCE = 0xF << 26, 1 << 29, 1 << 28, 1 << 26
_PROTECTION: tuple[dict[int, tuple[int, int | None]], ...] = (
    {},
    {
        Opcode.READ: (_PRACT | _GUARD | _REFERENCE, None),
        Opcode.VERIFY: (_GUARD | _REFERENCE, None),
        Opcode.WRITE: (_PRACT, None),
        Opcode.WRITE_ZEROES: (_PRACT, None),
    },
    {
        Opcode.READ: (_PRACT | _GUARD, None),
        Opcode.VERIFY: (_GUARD, None),
        Opcode.WRITE: (_PRACT, None),
        Opcode.WRITE_ZEROES: (_PRACT, None),
    },
    {
        Opcode.READ: (_PRACT | _GUARD, 0xFFFFFFFF),
        Opcode.VERIFY: (_GUARD, 0xFFFFFFFF),
        Opcode.WRITE: (_PRACT, 0xFFFFFFFF),
        Opcode.WRITE_ZEROES: (_PRACT, 0xFFFFFFFF),
    },
)
_LIMITED = {
    Opcode.VERIFY: "vsl",
    Opcode.WRITE_ZEROES: "wzsl",
    Opcode.WRITE_UNCORRECTABLE: "wusl",
}
_MOVES_BLOCKS = frozenset({Opcode.READ, Opcode.WRITE, Opcode.COMPARE})


class _Rules:
    """Holds the NVMe commands of one CDB against the CDB and against the controller."""

    def __init__(self, row: Command, facts: NamespaceFacts, named: list[range]) -> None:
        self.row, self.facts, self.named = row, facts, named
        self.documented = {name.casefold().replace("-", " ") for name in row.nvme}

    def require(self, holds: bool, field: str, message: str) -> None:
        if not holds:
            raise Finding(self.row, field, message)

    def check(self, group: tuple[NvmeCommand, ...]) -> None:
        """Check commands that are sent together."""
        moved = sum(len(each.data_out) + each.data_in for each in group)
        self.require(
            len(group) == 1 or moved <= MAXIMUM_TRANSFER_BYTES,
            self.row.length_field,
            f"{len(group)} commands at once move {moved} bytes",
        )
        self._fused(group)
        if self.row.whole:
            self._atomic(group)
        for command in group:
            name = command.name
            self.require(name.casefold() in self.documented, "nvme", f"the row lacks {name}")
            for word in ("nsid", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15"):
                value = getattr(command, word)
                self.require(0 <= value <= 0xFFFFFFFF, word, f"{name} has {value:#x}")
            data = max(len(command.data_out), command.data_in)
            self.require(
                not (command.data_out and command.data_in), "data", f"{name} moves data both ways"
            )
            limit = self.facts.maximum_transfer_bytes
            self.require(
                data <= limit, self.row.length_field, f"{name} moves {data} bytes, MDTS {limit}"
            )
            nsids = (self.facts.nsid, 0, BROADCAST_NSID) if command.admin else (self.facts.nsid,)
            self.require(command.nsid in nsids, "nsid", f"{name} is for {command.nsid:#x}")
            if not command.admin:
                self._io(command)

    def _fused(self, group: tuple[NvmeCommand, ...]) -> None:
        """Spec: NVMe Base 2.0 3.4.2; NVM Command Set 1.0 2.1.4 (ACWU)."""
        for index, command in enumerate(group):
            if command.fuse is Fuse.NORMAL:
                continue
            first, second = (index, index + 1) if command.fuse is Fuse.FIRST else (index - 1, index)
            pair = group[max(first, 0) : second + 1]
            self.require(
                [each.fuse for each in pair] == [Fuse.FIRST, Fuse.SECOND]
                and [each.opcode for each in pair] == [Opcode.COMPARE, Opcode.WRITE]
                and ranges(pair[0]) == ranges(pair[1]),
                "fuse",
                f"{command.name} is no half of a fused pair",
            )
            facts = self.facts
            own = facts.namespace.nacwu if facts.namespace.nsfeat & 2 else 0
            most = (own or facts.controller.acwu) + 1
            self.require(
                facts.controller_bit("fuses", 0) and command.blocks <= most,
                "number_of_blocks",
                f"{command.blocks} blocks are fused, {most} are atomic",
            )

    def _atomic(self, group: tuple[NvmeCommand, ...]) -> None:
        """Spec: NVM Command Set 1.0 2.1.4: NAWUPF or AWUPF, and no boundary in between."""
        namespace, (command, *others) = self.facts.namespace, group
        own = namespace.nsfeat & 2
        for name, most in (
            ("awun", (own and namespace.nawun) or self.facts.controller.awun),
            ("awupf", (own and namespace.nawupf) or self.facts.controller.awupf),
        ):
            whole = not others and command.blocks <= most + 1
            self.require(whole, "transfer_length", f"{command.blocks} blocks, {name} is {most}")
        for boundary in (each + 1 for each in (namespace.nabsn, namespace.nabspf) if each):
            first, last = command.slba, command.slba + command.blocks - 1
            crosses = (first - namespace.nabo) // boundary != (last - namespace.nabo) // boundary
            self.require(not crosses, "lba", f"{first} to {last} crosses one of {boundary} blocks")

    def _io(self, command: NvmeCommand) -> None:
        facts, name = self.facts, command.name
        opcode = Opcode(command.opcode)
        bit = _ONCS_BIT.get(opcode)
        self.require(bit is None or facts.controller_bit("oncs", bit), "oncs", f"{name} is sent")
        reserved = command.cdw12 & ~_PRINFO & ~_CDW12[opcode]
        others = command.cdw13, command.cdw15
        if opcode == Opcode.WRITE:
            stream = command.cdw13 >> 16
            most = facts.streams.count if facts.streams else 0
            directive = (1 << 20 if stream else 0, stream << 16)
            told = command.cdw12 & _DTYPE, command.cdw13
            self.require(told == directive and stream <= most, "group", f"it is of {stream}")
            reserved, others = reserved & ~_DTYPE, (0, command.cdw15)
        self.require(not reserved and not any(others), "cdw12", f"{name}: {command.sqe().hex()}")
        self._protection(command)
        for each in ranges(command):
            self.require(each.stop <= facts.capacity_blocks, "lba", f"{name} of {each} is beyond")
            inside = any(each.start >= ok.start and each.stop <= ok.stop for ok in self.named)
            self.require(inside, "lba", f"{name} of {each}, the CDB names {self.named}")
        data = max(len(command.data_out), command.data_in)
        if opcode in _MOVES_BLOCKS:
            size = command.blocks * facts.block_bytes
            self.require(data == size, "data", f"{name} of {size} bytes has {data} bytes of data")
            self._boundary(command)
        elif opcode in _LIMITED:
            limit = facts.size_limit_blocks(_LIMITED[opcode])
            self.require(
                not limit or command.blocks <= limit,
                self.row.length_field,
                f"{name} of {command.blocks} blocks, the limit is {limit}",
            )
        elif opcode is Opcode.DATASET_MANAGEMENT:
            self._dataset_management(command)

    def _protection(self, command: NvmeCommand) -> None:
        """Spec: NVM Command Set 1.0c 5.2.2 (PRACT, PRCHK), 5.3.1 (reference tags by type)."""
        wanted, tag = _PROTECTION[self.facts.namespace.dps].get(command.opcode, (0, 0))
        if self.row.opcode == _LONG:  # the CDB says which tags are expected, and they are checked
            wanted |= _REFERENCE if command.opcode in (Opcode.READ, Opcode.VERIFY) else 0
            tag = command.cdw14
        self.require(command.cdw12 & _PRINFO == wanted, "cdw12", f"{command.name}: not {wanted:#x}")
        tag = command.slba & 0xFFFFFFFF if tag is None else tag
        self.require(command.cdw14 == tag, "cdw14", f"{command.name}: {command.cdw14:#x} is no tag")

    def _boundary(self, command: NvmeCommand) -> None:
        boundary = self.facts.namespace.noiob
        if boundary and command.fuse is Fuse.NORMAL and not self.row.whole:
            last = command.slba + command.blocks - 1
            self.require(
                command.slba // boundary == last // boundary,
                "lba",
                f"{command.name} of {ranges(command)[0]} crosses a boundary of {boundary} blocks",
            )

    def _dataset_management(self, command: NvmeCommand) -> None:
        """Spec: NVM Command Set 1.0 3.2.3, 4.1.5 (DMRL, DMRSL, DMSL)."""
        limits, named = self.facts.nvm_controller, ranges(command)
        for name, limit, value in (
            ("ranges", 256, len(named)),
            ("dmrl", limits.dmrl, len(named)),
            ("dmrsl", limits.dmrsl, max(len(each) for each in named)),
            ("dmsl", limits.dmsl, sum(len(each) for each in named)),
        ):
            self.require(not limit or value <= limit, name, f"{value}, the limit is {limit}")
        self.require(all(named), "number_of_blocks", "an empty range is deallocated")
        self.require(command.cdw10 == len(named) - 1, "cdw10", f"{len(named)} ranges")


def _count_field(row: Command) -> bool:
    return row.length_field in row.structure.by_name and not row.transfer.counts_bytes


def _named(row: Command, cdb: Values, facts: NamespaceFacts, data_out: bytes) -> list[range]:
    """Return the blocks that a CDB names, for UNMAP those of its parameter list."""
    if row.translate is provisioning.unmap:
        size, start = provisioning.UNMAP_BLOCK_DESCRIPTOR.size, provisioning.UNMAP_HEADER.size
        stated = int.from_bytes(data_out[2:4], "big")
        pieces = data_out[start:][:stated]
        whole = len(pieces) // size * size
        each = (pieces[at : at + size] for at in range(0, whole, size))
        bounds = ((int.from_bytes(d[:8], "big"), int.from_bytes(d[8:12], "big")) for d in each)
        return [range(lba, lba + count) for lba, count in bounds]
    if row.transfer is Transfer.OFFSET_AND_BLOCKS:
        return _scattered(cdb, data_out)
    if not _count_field(row):
        return [range(facts.capacity_blocks)]
    lba, count = cdb["lba"], row.blocks(cdb)
    # A count of zero can mean the rest of the medium (WRITE SAME, SYNCHRONIZE CACHE).
    return [range(lba, lba + count if count else facts.capacity_blocks)]


def _scattered(cdb: Values, data_out: bytes) -> list[range]:
    """Return the blocks that a list of LBA range descriptors names. Spec: SBC-4 5.52."""
    named = []
    for number in range(1, cdb["number_of_lba_range_descriptors"] + 1):
        each = data_out[32 * number :][:32]
        lba, count = int.from_bytes(each[:8], "big"), int.from_bytes(each[8:12], "big")
        named.append(range(lba, lba + count if len(each) == 32 else lba))
    return named


def _zero_is_the_rest(row: Command) -> bool:
    return row.transfer in (Transfer.ONE_BLOCK, Transfer.ONE_BLOCK_UNLESS_NDOB)


def within_limits(row: Command, data: st.DataObject) -> None:
    """No NVMe command leaves the CDB's blocks, the row's list of commands or a limit."""
    facts = data.draw(strategies.namespaces())
    lu, nexus = make_unit(facts)
    cdb, data_out = data.draw(parameters.requests(row, lu))
    assume(strategies.affordable(row, cdb))
    named = _named(row, row.structure.parse(cdb), facts, data_out)
    rules = _Rules(row, facts, named)
    good = content(data.draw(st.binary(min_size=1, max_size=8)))
    sent = 0

    def answer(command: NvmeCommand) -> Completion:
        nonlocal sent
        sent += 1
        return good(command) if sent < _MOST_COMMANDS else Completion(status=0x006, dnr=True)

    expected = data.draw(parameters.expectations(data_out))
    result = play(engine.run(engine.select(nexus, 0, cdb), data_out, expected), answer, rules.check)
    if result.background is not None:
        play(result.background, answer, rules.check)


def add_up(row: Command, data: st.DataObject) -> None:
    """The commands of a GOOD CDB cover its blocks once, with the right data.

    A failed I/O command is never GOOD.
    """
    facts = data.draw(strategies.namespaces())
    lu, nexus = make_unit(facts)
    cdb, data_out = data.draw(parameters.requests(row, lu))
    values = row.structure.parse(cdb)
    medium = Medium(
        facts,
        numbered=row.data is Data.IN,
        fails_at=data.draw(st.one_of(st.none(), st.none(), st.integers(0, 3))),
        status=data.draw(strategies.failures()),
    )
    rules = _Rules(row, facts, _named(row, values, facts, data_out))
    announced = row.data_bytes(values, facts.block_bytes)
    assume(announced <= strategies.MOST_DATA)
    assume(row.blocks(values) <= strategies.MOST_DATA // facts.block_bytes or not _count_field(row))
    result = play(engine.run(engine.select(nexus, 0, cdb), data_out), medium.answer, rules.check)
    if medium.failed and result.status in (Status.GOOD, Status.CONDITION_MET):
        raise Finding(row, "status", f"{cdb.hex()}: a failed NVMe command, and {result.status!r}")
    _check_miscompare(row, values, data_out, medium, result)
    if result.status is Status.GOOD:
        wanted = _named(row, values, facts, data_out)
        if _count_field(row) and not row.blocks(values) and not _zero_is_the_rest(row):
            wanted = []
        _check_cover(row, cdb, joined(wanted), medium)
        _check_content(row, values, data_out, medium, result)


def _check_miscompare(
    row: Command, values: Values, data_out: bytes, medium: Medium, result: Result
) -> None:
    """Data other than the medium's are a miscompare, and no other data are."""
    compares = row.transfer in (Transfer.BYTCHK, Transfer.TWICE_BLOCKS)
    miscompares = result.sense is not None and result.sense.key is SenseKey.MISCOMPARE
    if medium.failed:
        return
    if not compares and miscompares and "bytchk" not in values:
        raise Finding(row, "", "a miscompare of a command that compares nothing")
    if compares and result.status is Status.GOOD:
        half = len(data_out) // 2 if row.transfer is Transfer.TWICE_BLOCKS else len(data_out)
        announced = row.data_bytes(values, medium.facts.block_bytes)
        if any(data_out[: min(half, announced)]):
            raise Finding(row, row.length_field, "data that differ from the medium pass")


def _check_cover(row: Command, cdb: bytes, wanted: list[range], medium: Medium) -> None:
    looked_at, changed = joined(medium.looked_at), joined(medium.changed)
    must_look = not {"Read", "Compare", "Verify"}.isdisjoint(row.nvme)
    must_change = not {"Write", "Write Zeroes"}.isdisjoint(row.nvme)
    manages = "Dataset Management" in row.nvme
    hints = row.hot is Hot.PRE_FETCH
    for must, what, covered in (
        (must_look, "read or verified", looked_at),
        (must_change, "written", changed),
        (manages and not hints, "unmapped", joined(medium.unmapped)),
    ):
        if covered != (wanted if must else []):
            message = f"{cdb.hex()}: {covered} are {what}, {wanted} are named"
            raise Finding(row, row.length_field, message)
    for each in medium.hinted:
        values = row.structure.parse(cdb)
        named = range(values["lba"], values["lba"] + row.blocks(values)) if hints else range(0)
        if hints and not named:  # to the end
            named = range(values["lba"], medium.facts.capacity_blocks)
        if not named or each.start != named.start or each.stop > named.stop:
            raise Finding(row, row.length_field, f"{cdb.hex()}: {each} is told of, not {named}")


def _check_content(
    row: Command, values: Values, data_out: bytes, medium: Medium, result: Result
) -> None:
    size = medium.facts.block_bytes
    if row.data is Data.IN and row.transfer is Transfer.BLOCKS:
        lba = values["lba"]
        if result.data_in != medium.blocks(range(lba, lba + row.blocks(values))):
            raise Finding(row, "lba", f"the data read are not those from {lba} on")
    if not medium.written:
        return
    if row.transfer is Transfer.OFFSET_AND_BLOCKS:
        _check_ranges(row, values, data_out, medium)
        return
    start = min(medium.written)
    written = medium.blocks(range(start, start + len(medium.written)))
    if row.transfer is Transfer.BLOCKS:
        expected = data_out[: row.data_bytes(values, size)]
    elif row.transfer is Transfer.TWICE_BLOCKS:
        expected = data_out[len(written) : 2 * len(written)]
    else:
        sent = row.data_bytes(values, size)
        expected = (data_out[:sent] or bytes(size)) * len(medium.written)
    if written != expected:
        raise Finding(row, row.length_field, f"what is written from {start} on is not what came")


def _check_ranges(row: Command, values: Values, data_out: bytes, medium: Medium) -> None:
    """Each range has its data, but for what later ones have of it."""
    size = medium.facts.block_bytes
    at = values["logical_block_data_offset"] * size
    wanted: dict[int, bytes] = {}
    for each in _scattered(values, data_out):
        for lba in each:
            wanted[lba] = data_out[at : at + size]
            at += size
    for lba, data in wanted.items():
        if medium.blocks(range(lba, lba + 1)) != data:
            raise Finding(row, "lba", f"what is written to {lba} is not what came")
