"""READ CAPACITY."""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation

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
_WHOLE_UNIT = 0b01  # RC BASIS. Spec: ZBC (READ CAPACITY)


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
)
