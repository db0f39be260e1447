"""Controller properties ("registers"), declared in the field language.

Every structure is 4 or 8 bytes; `decode` and `encode` go between it and the
integer that a register access reads or writes. Spec: NVMe Base 2.0c 3.1.3.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure, Values

ALL_ONES_32 = 0xFFFFFFFF
ALL_ONES_64 = 0xFFFFFFFFFFFFFFFF
NSSR_RESET = 0x4E564D65  # "NVMe"


class Register(IntEnum):
    """Offsets of the properties. Spec: NVMe Base 2.0c figure 35."""

    CAP = 0x00
    VS = 0x08
    INTMS = 0x0C
    INTMC = 0x10
    CC = 0x14
    CSTS = 0x1C
    NSSR = 0x20
    AQA = 0x24
    ASQ = 0x28
    ACQ = 0x30
    CMBLOC = 0x38
    CMBSZ = 0x3C
    CMBMSC = 0x50
    CRTO = 0x68
    DOORBELLS = 0x1000


class ShutdownStatus(IntEnum):
    """CSTS.SHST."""

    NORMAL_OPERATION = 0
    IN_PROGRESS = 1
    COMPLETE = 2


def _register(name: str, size: int, fields: tuple[tuple[str, int, int, str], ...]) -> Structure:
    """Return a register from (name, least significant bit, width, doc)."""
    return Structure(
        name,
        size,
        tuple(Field(field, bit // 8, bit % 8, width, doc) for field, bit, width, doc in fields),
        order="little",
        spec="NVMe Base 2.0c 3.1.3",
    )


CAP = _register(
    "Controller Capabilities",
    8,
    (
        ("mqes", 0, 16, "0's based"),
        ("cqr", 16, 1, "queues must be contiguous"),
        ("ams", 17, 2, ""),
        ("to", 24, 8, "500 ms"),
        ("dstrd", 32, 4, "stride is 4 << DSTRD bytes"),
        ("nssrs", 36, 1, ""),
        ("css", 37, 8, "bit 0 NVM, 6 one or more I/O command sets, 7 none"),
        ("bps", 45, 1, ""),
        ("cps", 46, 2, ""),
        ("mpsmin", 48, 4, "page is 4096 << MPSMIN bytes"),
        ("mpsmax", 52, 4, ""),
        ("pmrs", 56, 1, ""),
        ("cmbs", 57, 1, ""),
        ("nsss", 58, 1, ""),
        ("crwms", 59, 1, ""),
        ("crims", 60, 1, ""),
    ),
)

VS = _register("Version", 4, (("ter", 0, 8, ""), ("mnr", 8, 8, ""), ("mjr", 16, 16, "")))

CC = _register(
    "Controller Configuration",
    4,
    (
        ("en", 0, 1, ""),
        ("css", 4, 3, "0 NVM, 6 all supported I/O command sets"),
        ("mps", 7, 4, "page is 4096 << MPS bytes"),
        ("ams", 11, 3, "0 round robin"),
        ("shn", 14, 2, "1 normal, 2 abrupt shutdown"),
        ("iosqes", 16, 4, "power of two"),
        ("iocqes", 20, 4, "power of two"),
        ("crime", 24, 1, ""),
    ),
)

CSTS = _register(
    "Controller Status",
    4,
    (
        ("rdy", 0, 1, ""),
        ("cfs", 1, 1, "fatal"),
        ("shst", 2, 2, "ShutdownStatus"),
        ("nssro", 4, 1, "cleared by writing one"),
        ("pp", 5, 1, "processing paused"),
        ("st", 6, 1, ""),
    ),
)

AQA = _register("Admin Queue Attributes", 4, (("asqs", 0, 12, "0's based"), ("acqs", 16, 12, "")))

CMBLOC = _register(
    "Controller Memory Buffer Location",
    4,
    (("bir", 0, 3, ""), ("cqmms", 3, 1, ""), ("cqpds", 4, 1, ""), ("ofst", 12, 20, "")),
)

CMBSZ = _register(
    "Controller Memory Buffer Size",
    4,
    (
        ("sqs", 0, 1, ""),
        ("cqs", 1, 1, ""),
        ("lists", 2, 1, ""),
        ("rds", 3, 1, ""),
        ("wds", 4, 1, ""),
        ("szu", 8, 4, "unit is 4096 << 4 * SZU bytes"),
        ("sz", 12, 20, ""),
    ),
)

CRTO = _register(
    "Controller Ready Timeouts", 4, (("crwmt", 0, 16, "500 ms"), ("crimt", 16, 16, "500 ms"))
)

LAYOUTS = {
    Register.CAP: CAP,
    Register.VS: VS,
    Register.CC: CC,
    Register.CSTS: CSTS,
    Register.CMBLOC: CMBLOC,
    Register.CMBSZ: CMBSZ,
    Register.CRTO: CRTO,
}
"""Those that have fields."""


def decode(structure: Structure, value: int) -> Values:
    """Return the fields of a register's value."""
    return structure.parse(value.to_bytes(structure.size, "little"))


def encode(structure: Structure, **fields: int) -> int:
    """Return the register value with these fields, all others zero."""
    return int.from_bytes(structure.build(**fields), "little")


def update(structure: Structure, value: int, **fields: int) -> int:
    """Return `value` with these fields changed."""
    buffer = bytearray(value.to_bytes(structure.size, "little"))
    structure.write(buffer, **fields)
    return int.from_bytes(buffer, "little")
