"""READ CAPACITY and GET LBA STATUS."""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.sanitize_status import all_deallocated
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, Sense
from scsi2nvme.unit.reservations import Access

CAPACITY_10 = Structure(
    "READ CAPACITY (10) parameter data",
    8,
    (
        Field("returned_lba", 0, 0, 32, "the last, FFFFFFFFh if it is beyond"),
        Field("block_length", 4, 0, 32, "bytes"),
    ),
    spec="SBC-3 5.15.2",
)
CAPACITY_16 = Structure(
    "READ CAPACITY (16) parameter data",
    32,
    (
        Field("returned_lba", 0, 0, 64, "the last"),
        Field("block_length", 8, 0, 32, "bytes"),
        Field("rc_basis", 12, 4, 2, "01b: the last of the whole zoned logical unit"),
        Field("p_type", 12, 1, 3),
        Field("prot_en", 12, 0, 1),
        Field("p_i_exponent", 13, 4, 4),
        Field("lbppbe", 13, 0, 4, "logical blocks per physical block, power of two"),
        Field("lbpme", 14, 7, 1, "logical block provisioning management"),
        Field("lbprz", 14, 6, 1, "unmapped blocks read as zeroes"),
        Field("lowest_aligned_lba", 14, 0, 14),
    ),
    spec="SBC-3 5.16.2",
)
LBA_STATUS = Structure(
    "GET LBA STATUS parameter data with one descriptor",
    24,
    (
        Field("parameter_data_length", 0, 0, 32),
        Field("completion_condition", 7, 1, 3, "000b: not indicated"),
        Field("rtp", 7, 0, 1, "REPORT TYPE was processed"),
        Field("lba", 8, 0, 64),
        Field("blocks", 16, 0, 32),
        Field("provisioning_status", 20, 0, 4, "0h: mapped or unknown, 1h: deallocated"),
        Field("additional_status", 21),
    ),
    spec="SBC-3 5.4.2; SBC-4 (REPORT TYPE, RTP)",
)
_WHOLE_UNIT = 0b01  # RC BASIS. Spec: ZBC (READ CAPACITY)
_LBA_STATUS_HEADER_BYTES = 8
_MAPPED_OR_UNKNOWN, _DEALLOCATED = 0x0, 0x1  # PROVISIONING STATUS
# REPORT TYPE: all blocks, those of a status that is not zero, mapped, deallocated, anchored, and
# perhaps unreadable ones, of which none are known. By the status of all blocks: which tell of them.
_REPORT_TYPES = frozenset({0x00, 0x01, 0x02, 0x03, 0x04, 0x10})
_TELLING = {_MAPPED_OR_UNKNOWN: {0x00, 0x02}, _DEALLOCATED: {0x00, 0x01, 0x03}}


def _check_pmi(task: Task) -> None:
    # Without PMI the LBA has no meaning, and SBC-2 has it zero.
    if task.cdb["lba"] and not task.cdb["pmi"]:
        raise task.invalid_field("lba")


def read_capacity_10(task: Task) -> Translation:
    """Spec: SBC-3 5.15, SBC-2 5.10 (PMI)."""
    _check_pmi(task)
    last = min(task.lu.capacity_blocks - 1, 0xFFFFFFFF)
    return Result(data_in=CAPACITY_10.build(returned_lba=last, block_length=task.lu.block_bytes))
    yield  # a generator, though nothing is asked of the controller


def read_capacity_16(task: Task) -> Translation:
    """Spec: SBC-3 5.16, SBC-2 5.11 (PMI)."""
    _check_pmi(task)
    lu = task.lu
    data = CAPACITY_16.build(
        returned_lba=lu.capacity_blocks - 1,
        block_length=lu.block_bytes,
        rc_basis=_WHOLE_UNIT if lu.zones is not None else 0,
        p_type=lu.facts.protection_type - 1 if task.moves_protection else 0,
        prot_en=task.moves_protection,
        lbppbe=lu.physical_block_exponent,
        lbpme=lu.provisioned,
        lbprz=lu.reads_zero_after_unmap,
    )
    return Result(data_in=data)
    yield


def get_lba_status(task: Task) -> Translation:
    """Answer one extent up to the end of the medium: NVMe tells nobody what is deallocated.

    It is told of all that it is, while nothing was written since it was sanitized.
    Spec: SBC-3 5.4; SBC-4 (REPORT TYPE); NVMe Base 2.0c 5.16.1.25 (Global Data Erased).
    """
    lba, kind = task.cdb["lba"], task.cdb["report_type"]
    remaining = task.lu.capacity_blocks - lba
    if remaining <= 0:
        raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
    if kind not in _REPORT_TYPES:
        raise task.invalid_field("report_type")
    status = _DEALLOCATED if (yield from all_deallocated(task.lu)) else _MAPPED_OR_UNKNOWN
    used = LBA_STATUS.size if kind in _TELLING[status] else _LBA_STATUS_HEADER_BYTES
    data = LBA_STATUS.build(
        parameter_data_length=used - 4,
        rtp=1,
        lba=lba,
        blocks=min(remaining, 0xFFFFFFFF),
        provisioning_status=status,
    )
    return Result(data_in=data[:used])


COMMANDS = (
    Command(
        "READ CAPACITY (10)",
        0x25,
        10,
        "SBC-3 5.15",
        read_capacity_10,
        (
            Field("lba", 2, 0, 32, "obsolete"),
            Field("pmi", 8, 0, 1, "partial medium indicator, obsolete: no effect"),
        ),
        data=Data.IN,
        transfer=Transfer.BYTES,
        zero_length_means=CAPACITY_10.size,
        legacy_reserve_allows=True,
        kept=True,
        nvme=("Identify",),
    ),
    Command(
        "READ CAPACITY (16)",
        0x9E,
        16,
        "SBC-3 5.16",
        read_capacity_16,
        (
            Field("lba", 2, 0, 64, "obsolete"),
            Field("allocation_length", 10, 0, 32),
            Field("pmi", 14, 0, 1, "partial medium indicator, obsolete: no effect"),
        ),
        service_action=0x10,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        legacy_reserve_allows=True,
        kept=True,
        nvme=("Identify",),
    ),
    Command(
        "GET LBA STATUS (16)",
        0x9E,
        16,
        "SBC-3 5.4",
        get_lba_status,
        (
            Field("lba", 2, 0, 64),
            Field("allocation_length", 10, 0, 32),
            Field("report_type", 14),
        ),
        service_action=0x12,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        nvme=("Get Log Page",),
        doc="PROVISIONING STATUS is 0h, mapped or unknown, after an UNMAP too: NVMe tells nobody "
        "which blocks are deallocated. It is 1h of all blocks from the end of a sanitize operation "
        "on until anything is written, if the controller tells that.",
    ),
)
