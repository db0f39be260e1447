"""What a SCSI command is: one declarative row.

From rows alone come dispatch, CDB decoding and encoding, reserved-bit checks
with their field pointer, REPORT SUPPORTED OPERATION CODES, the native hot
path's table, the fuzzers' strategies and the command documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from enum import Enum, IntEnum
from functools import cached_property
from typing import Protocol

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import CheckCondition, NvmeError, Translation
from scsi2nvme.scsi.sense import INVALID_FIELD_IN_CDB, FieldPointer, Sense, SenseCode
from scsi2nvme.unit.block_device import Portion
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.reservations import Access


class Data(Enum):
    """Which way a command's data goes, as the initiator sees it."""

    NONE = "none"
    IN = "in"
    OUT = "out"


class Transfer(IntEnum):
    """How many bytes of data a CDB announces, by `Command.length_field`.

    The values are shared with the native data plane.
    """

    NONE = 0  # no data
    BYTES = 1  # length_field counts bytes (ALLOCATION or PARAMETER LIST LENGTH)
    BLOCKS = 2  # length_field counts logical blocks
    TWICE_BLOCKS = 3  # twice the blocks (COMPARE AND WRITE)
    ONE_BLOCK = 4  # one logical block whatever the length (WRITE SAME)
    ONE_BLOCK_UNLESS_NDOB = 5  # as above, nothing when NDOB is one
    BYTCHK = 6  # by BYTCHK: 00b none, 01b the blocks, 11b one block
    # FORMAT UNIT: 8 bytes with LONGLIST, else 4, and what the initiator sends behind them, of which
    # the CDB does not tell; nothing without FMTDATA.
    FORMAT_HEADER = 7
    BYTES_OR_512 = 8  # length_field counts bytes, with INC_512 512 of them each
    OFFSET_AND_BLOCKS = 9  # LOGICAL BLOCK DATA OFFSET and length_field, in blocks (WRITE SCATTERED)

    @property
    def counts_bytes(self) -> bool:
        """Whether what is moved is no blocks, but as long as the initiator wants, or sends."""
        return self in (Transfer.BYTES, Transfer.BYTES_OR_512)


FORMAT_BYTES = 1 << 16  # that a FORMAT UNIT's parameter list may have


class Hot(IntEnum):
    """Kinds of commands that the native hot path translates: `s2n_hot_read` and so on in C."""

    NO = 0
    READ = 1
    WRITE = 2
    FLUSH = 3
    READY = 4
    PRE_FETCH = 5
    UNMAP = 6
    WRITE_SAME = 7
    VERIFY = 8
    WRITE_AND_VERIFY = 9
    COMPARE_AND_WRITE = 10
    WRITE_ATOMIC = 11


class Counted(IntEnum):
    """What statistics count a command as. The values are shared with the native data plane.

    One that may unmap by a bit of its CDB counts as a discard when that is set.
    """

    READ = 0
    WRITE = 1
    DISCARD = 2
    OTHER = 3


class Table(Protocol):
    """The command table, for the commands that tell of it."""

    COMMANDS: tuple[Command, ...]

    def actions(self, opcode: int) -> dict[int | None, Command]:
        """Return the rows of one operation code by service action (None: it has none)."""

    def service_action_field(self, opcode: int) -> Field | None:
        """Return where an operation code's service action stands, None if it has none."""


@dataclass(slots=True)
class Task:
    """One SCSI command under way, as its translation sees it.

    `table` is the one that its row is of.
    `data_out` holds what the initiator sent, at most what the CDB announces;
    `expected` how many bytes it prepared to move, None if that is not known.
    `portion` is what the command moves now, and `data_out` that of it; None: all.
    `phase` is how much of it the hot path has done, where one thing is done after the other;
    `failure` is what that met then, where the command has had its blocks alone since.
    `announced` is how many bytes its CDB announced when it came, None if that is not known.
    `repeated`: it was begun before, and the controller was lost.
    """

    command: Command
    cdb: Values
    nexus: Nexus
    unit: LogicalUnit | None  # None only in a row's `without_unit`
    table: Table
    data_out: bytes = b""
    expected: int | None = None
    portion: Portion | None = None
    phase: int = 0
    announced: int | None = None
    failure: NvmeError | None = None
    repeated: bool = False

    @property
    def lu(self) -> LogicalUnit:
        """The addressed logical unit."""
        assert self.unit is not None, f"{self.command.name} has no logical unit"
        return self.unit

    @property
    def moves_protection(self) -> bool:
        """Whether protection information of the logical unit can be moved to this initiator."""
        return self.nexus.delivery.protection and self.lu.facts.moves_protection

    @property
    def protection_types(self) -> tuple[int, ...]:
        """The types of protection information that can be moved to it, now or after a format."""
        return self.lu.facts.protection_types if self.nexus.delivery.protection else ()

    @property
    def tuple_bytes(self) -> int:
        """How many bytes of protection information are moved behind each block."""
        name = self.command.protect_field
        return TUPLE_BYTES if name and self.cdb[name] and self.moves_protection else 0

    @property
    def block_bytes(self) -> int:
        """How many bytes of data the command moves for each block."""
        return self.lu.block_bytes + self.tuple_bytes

    def invalid_field(self, name: str, code: SenseCode = INVALID_FIELD_IN_CDB) -> CheckCondition:
        """Return the exception that refuses the named CDB field."""
        byte, bit = self.command.structure.by_name[name].highest_bit("big")
        return CheckCondition(Sense(code, pointer=FieldPointer(byte, bit)))


def always(cdb: Values) -> bool:
    """Say so of every CDB of a row."""
    return True


# Before SAM, the logical unit was addressed in the CDB as well. Spec: SCSI-2 7.2.2.
OBSOLETE_LUN = Field("lun", 1, 5, 3, "obsolete", ignored=True)


def control(length: int) -> Field:
    """Return NACA, the one evaluated bit of a CONTROL byte. Spec: SAM-5 5.2."""
    return Field("naca", length - 1, 2, 1, "normal ACA: must be zero")


@dataclass(frozen=True)
class Command:
    """One row of the command table.

    `opcode` and the service action are not listed among `fields`; neither is
    NACA, which every CDB has. Bits that no field covers are reserved.
    """

    name: str
    opcode: int
    length: int
    spec: str
    translate: Callable[[Task], Translation] = field(compare=False)
    fields: tuple[Field, ...] = ()
    service_action: int | None = None
    data: Data = Data.NONE
    transfer: Transfer = Transfer.NONE
    length_field: str = ""
    protect_field: str = ""  # not zero: protection information is moved behind each block
    hint_field: str = ""  # ignored, but where there are streams: a group, with what is said of it
    zero_length_means: int = 0  # READ (6): 256 blocks; READ CAPACITY (10), without field: 8 bytes
    access: Access = Access.ALWAYS
    legacy_reserve_allows: bool = False  # runs despite another nexus' RESERVE
    # Which CDBs of this row no reservation stops, whatever the two fields above say.
    never_conflicts: Callable[[Values], bool] = field(default=lambda cdb: False, compare=False)
    # Which CDBs run although what was kept of persistent reservations is lost.
    # Spec: SPC-4 5.13.5.2, 5.13.5.3.2.
    while_reservations_lost: Callable[[Values], bool] = field(
        default=lambda cdb: False, compare=False
    )
    reports_unit_attention: bool = True
    needs_ready: bool = True  # refused while stopped, formatting or failed
    while_sanitizing: bool = False  # runs while the controller sanitizes, or has failed to
    answered_when_failed: bool = False  # runs although the controller is gone
    # Refused while write protected; and it revokes tokens: of its blocks, or of all where it does
    # not name them.
    modifies_medium: bool = False
    # Runs alone: on the blocks that its CDB names, or where it names none, on the logical unit.
    exclusive: bool = False
    # Its data mean something as a whole: fewer blocks than the CDB announces are refused.
    whole: bool = False
    # Asks for the logical unit's state: in the head of the queue implicitly, as no other commands
    # may be than the standard lists. Spec: SPC-4 5.3.
    asks_for_state: bool = False
    # The (LBA, blocks) that the CDB with its data names, where it is not those of its own fields.
    listed_blocks: Callable[[Values, bytes], Iterable[tuple[int, int]]] | None = field(
        default=None, compare=False
    )
    # Whether it has begun what nothing stops: when it is aborted it goes on, unanswered.
    goes_on: Callable[[LogicalUnit], bool] = field(default=lambda lu: False, compare=False)
    # What a LUN without a logical unit answers, where it is not a refusal.
    without_unit: Callable[[Task], Translation] | None = field(default=None, compare=False)
    supported: Callable[[LogicalUnit], bool] = field(default=lambda lu: True, compare=False)
    # It begins what is asked for later, or asks for that, by an identifier that the initiator has
    # chosen: it is not there where another's could be meant.
    of_one_initiator: bool = False
    # It tells of reservations, or changes them: where several initiators are one nexus, whoever
    # knows them does so before it gets here.
    of_reservations: bool = False
    third_party: bool = False  # moves blocks of logical units that its data name
    # Others meet something else afterwards, although all that it moves comes back.
    leaves_something: bool = False
    hot: Hot = Hot.NO
    # Whether its answer holds until anything changes but the medium: it tells of nothing that
    # changes by itself, and changes nothing where it is repeated.
    kept: bool = False
    # Whether those alike of a nexus that wait at the same time may have one answer: it changes
    # nothing but what others are told of at once (`LogicalUnit.on_change`).
    shared: bool = False
    nvme: tuple[str, ...] = ()  # the NVMe commands that it becomes, for the documentation
    timeout_s: int = 30
    doc: str = ""

    @property
    def shares(self) -> bool:
        """Whether its answer is that of those like it as well: what is kept may be shared."""
        return self.kept or self.shared

    def offered(self, lu: LogicalUnit, nexus: Nexus) -> bool:
        """Whether a logical unit has the command for those who send it."""
        return self.supported(lu) and not (self.of_one_initiator and nexus.stands_for_several)

    @cached_property
    def service_action_field(self) -> Field | None:
        """Where the service action stands: bytes 8-9 of a 32-byte CDB, else byte 1."""
        if self.service_action is None:
            return None
        if self.opcode == 0x7F:
            return Field("service_action", 8, 0, 16)
        return Field("service_action", 1, 0, 5)

    @property
    def counted(self) -> Counted:
        """What it is in statistics, unless a bit of its CDB makes it a discard."""
        if self.hot is Hot.UNMAP:
            return Counted.DISCARD
        scattered = self.transfer is Transfer.OFFSET_AND_BLOCKS
        several = Transfer.BLOCKS <= self.transfer <= Transfer.ONE_BLOCK_UNLESS_NDOB
        if not several and not scattered:
            return Counted.OTHER
        return Counted.READ if self.data is Data.IN else Counted.WRITE

    @cached_property
    def accesses_medium(self) -> bool:
        """Whether the command needs the active power condition. Spec: SBC-3 4.18."""
        moves_blocks = Transfer.BLOCKS <= self.transfer <= Transfer.BYTCHK
        return moves_blocks or self.modifies_medium or self.hot is Hot.FLUSH

    @property
    def reads_zones(self) -> bool:
        """Whether it is hot where there are zones as well, of one of which it reads.

        What writes these is not: the engine keeps its order.
        """
        return self.hot is not Hot.NO and not self.modifies_medium

    @cached_property
    def names_blocks(self) -> bool:
        """Whether the CDB names blocks that are read or changed."""
        flushes = self.hot is Hot.FLUSH  # what it flushes is nobody's while it does
        own = self.listed_blocks is None and "lba" in self.structure.by_name
        return self.accesses_medium and not flushes and own

    def extents(self, cdb: bytes, data_out: bytes) -> tuple[range, ...]:
        """Return the blocks that a command may read or change, as its CDB and data name them.

        None of it is checked. A count of zero is taken for all blocks from the LBA on.
        """
        if len(cdb) < self.length:
            return ()
        values = self.structure.parse(cdb)
        if self.listed_blocks is not None:
            listed = self.listed_blocks(values, data_out)
            return tuple(range(lba, lba + blocks) for lba, blocks in listed)
        if not self.names_blocks:
            return ()
        lba, blocks = values["lba"], self.blocks(values)
        return (range(lba, lba + blocks if blocks else 1 << 64),)

    def changed_blocks(self, cdb: bytes, data_out: bytes) -> tuple[range, ...] | None:
        """Return the blocks that a command may change which modifies the medium; None: any."""
        moves_blocks = Transfer.BLOCKS <= self.transfer <= Transfer.BYTCHK
        if self.listed_blocks is None and not moves_blocks:
            return None
        return self.extents(cdb, data_out)

    @cached_property
    def structure(self) -> Structure:
        """The CDB's layout."""
        own = [Field("opcode", 0, 0, 8)]
        if self.service_action_field is not None:
            own.append(self.service_action_field)
        naca = control(1) if self.opcode == 0x7F else control(self.length)
        if self.opcode == 0x7F:
            naca = Field("naca", 1, 2, 1, naca.doc)
        fields = (*own, *self.fields, naca)
        return Structure(self.name, self.length, fields, spec=self.spec)

    @cached_property
    def usage(self) -> bytes:
        """The CDB usage data of REPORT SUPPORTED OPERATION CODES. Spec: SPC-4 6.35.3.

        What is reserved or ignored is zero in it.
        """
        mask = bytearray(self.length)
        for each in self.structure.decoded.values():
            each.write(mask, each.maximum, "big")
        mask[0] = self.opcode
        if self.service_action_field is not None:
            assert self.service_action is not None
            self.service_action_field.write(mask, self.service_action, "big")
        return bytes(mask)

    def hint_of(self, cdb: bytes) -> int:
        """Return which hint a CDB names, of any kind; 0: none."""
        return self.structure.by_name[self.hint_field].read(cdb, "big") if self.hint_field else 0

    def usage_by(self, lu: LogicalUnit) -> bytes:
        """Return the same of a logical unit, which may look at a hint."""
        if not self.hint_field or not lu.permanent_streams:
            return self.usage
        mask, hint = bytearray(self.usage), self.structure.by_name[self.hint_field]
        hint.write(mask, hint.maximum, "big")
        return bytes(mask)

    @cached_property
    def _reserved(self) -> int:
        """The bits that are reserved, in the CDB as a number."""
        return ~int.from_bytes(self.structure.mask, "big") & ((1 << 8 * self.length) - 1)

    def reserved_bit(self, cdb: bytes) -> FieldPointer | None:
        """Return where `cdb` sets a reserved bit, the first byte and its highest such bit."""
        if not int.from_bytes(cdb[: self.length].ljust(self.length, b"\0"), "big") & self._reserved:
            return None
        for byte, (value, allowed) in enumerate(zip(cdb, self.structure.mask, strict=False)):
            wrong = value & ~allowed
            if wrong:
                return FieldPointer(byte, wrong.bit_length() - 1)
        return None

    def build(self, **values: int) -> bytes:
        """Return a CDB with the named fields set."""
        own = {"opcode": self.opcode}
        if self.service_action is not None:
            own["service_action"] = self.service_action
        if "additional_cdb_length" in self.structure.by_name:
            own["additional_cdb_length"] = self.length - 8
        return self.structure.build(**own | values)

    def blocks(self, cdb: Values) -> int:
        """Return the logical blocks that `cdb` names (zero-length convention applied)."""
        return self._length(cdb)

    def _length(self, cdb: Values) -> int:
        count = cdb[self.length_field] if self.length_field else 0
        return count or self.zero_length_means

    def data_bytes(self, cdb: Values, block_bytes: int) -> int:
        """Return how many bytes of data `cdb` announces."""
        match self.transfer:
            case Transfer.NONE:
                return 0
            case Transfer.BYTES:
                return self._length(cdb)
            case Transfer.BLOCKS:
                return self.blocks(cdb) * block_bytes
            case Transfer.TWICE_BLOCKS:
                return 2 * self.blocks(cdb) * block_bytes
            case Transfer.ONE_BLOCK:
                return block_bytes
            case Transfer.ONE_BLOCK_UNLESS_NDOB:
                return 0 if cdb["ndob"] else block_bytes
            case Transfer.BYTCHK:
                blocks = self.blocks(cdb)
                return {1: blocks, 3: min(blocks, 1)}.get(cdb["bytchk"], 0) * block_bytes
            case Transfer.OFFSET_AND_BLOCKS:
                return (cdb["logical_block_data_offset"] + self.blocks(cdb)) * block_bytes
            case Transfer.BYTES_OR_512:
                return self._length(cdb) * (512 if cdb["inc_512"] else 1)
            case Transfer.FORMAT_HEADER:
                return (8 if cdb["longlist"] else 4) if cdb["fmtdata"] else 0
