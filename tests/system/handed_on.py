"""Which tests of `iscsi-test-cu` the kernel's target can be spared, as others show the same.

It hands on what is meant for a user backstore as it came, and hands back status, sense data and
what was read: all but REPORT LUNS, PERSISTENT RESERVE, RESERVE and RELEASE, which it answers
(Linux, drivers/target/target_core_device.c: passthrough_parse_cdb; of some CDBs it clears the
upper bits of byte 1). So a command differs for it in nothing but which way data go, how much,
and how it ends. Many tests send hundreds that are alike in this, and one of each kind is enough;
what the engine makes of the others is the same as behind the portal, where all of them run.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Tests (patterns of FAMILY.TEST) that are not run, as `like` is the same for the kernel."""

    tests: tuple[str, ...]
    like: str
    why: str

    def covers(self, test: str) -> bool:
        """Whether it speaks of a test."""
        return any(fnmatch(test, pattern) for pattern in self.tests)


_SKIPS = "it looks at the same answer, and skips itself as well"
HANDED_ON = (
    HandedOn(
        ("Read12.Simple", "Read16.Simple"),
        "Read10.Simple",
        "data of 1 to 256 blocks; CDBs of each length go through with `DpoFua`",
    ),
    HandedOn(
        ("Read12.BeyondEol", "Read16.BeyondEol"),
        "Read10.BeyondEol",
        "reads that are refused; CDBs of each length go through with `DpoFua`",
    ),
    HandedOn(
        ("Prefetch10.BeyondEol", "Prefetch16.BeyondEol", "Verify1?.BeyondEol"),
        "Read10.BeyondEol",
        "nothing but sense data comes back",
    ),
    HandedOn(("Prefetch1?.Simple",), "Prefetch10.Flags", "no data move"),
    HandedOn(
        ("Write12.Simple", "Write16.Simple"),
        "Write10.Simple",
        "data of 1 to 256 blocks; CDBs of each length go through with `DpoFua`",
    ),
    HandedOn(
        ("WriteVerify1?.Simple",),
        "Write10.Simple",
        "data of 1 to 256 blocks, with commands that the kernel takes for no other than WRITE; "
        "CDBs of each length go through with `Dpo`",
    ),
    HandedOn(
        ("Write12.BeyondEol", "Write16.BeyondEol", "WriteVerify1?.BeyondEol", "OrWrite.BeyondEol"),
        "Write10.BeyondEol",
        "writes that are refused; CDBs of each length go through with `DpoFua` and `Dpo`",
    ),
    HandedOn(("WriteSame1?.BeyondEol",), "Write10.BeyondEol", "one block that is refused"),
    HandedOn(
        ("WriteSame1?.Simple", "WriteSame1?.Check", "WriteSame16.Unmap"),
        "WriteSame10.Unmap",
        "one block, for 1 to 256, which are read afterwards",
    ),
    HandedOn(
        ("OrWrite.Simple", "OrWrite.Verify", "Verify12.Simple", "Verify16.Simple"),
        "Verify10.Simple",
        "data of 1 to 256 blocks, with a command that the kernel does not know to write",
    ),
    HandedOn(
        ("Verify1?.MismatchNoCmp",),
        "Verify10.Simple",
        "the same data, whether or not somebody compares them",
    ),
    HandedOn(
        ("Verify12.Mismatch", "Verify16.Mismatch"),
        "Verify10.Mismatch",
        "the same, and sense data come back",
    ),
    HandedOn(
        ("CompareAndWrite.Simple", "CompareAndWrite.Miscompare"),
        "CompareAndWrite.Unwritten",
        "two blocks for each one, up to the largest length, equal or not",
    ),
    HandedOn(
        ("MultipathIO.CompareAndWrite",),
        "MultipathIO.CompareAndWriteAsync",
        "two blocks, equal or not, by either path; the other has many on both at once",
    ),
    HandedOn(
        ("Unmap.ZeroBlocks",),
        "Unmap.Simple",
        "lists of as many descriptors, whatever these say",
    ),
    HandedOn(
        ("GetLBAStatus.Simple",),
        "ReadCapacity16.Alloclen",
        "few bytes of a SERVICE ACTION IN (16), whichever it is",
    ),
    HandedOn(
        ("GetLBAStatus.UnmapSingle",),
        "Unmap.Simple",
        "UNMAP by turns with GET LBA STATUS, which is refused with `BeyondEol`",
    ),
    HandedOn(
        (
            *("Sanitize.BlockEraseReserved", "Sanitize.Crypto*", "Sanitize.[EI]*"),
            *("Sanitize.Overwrite*", "Sanitize.Re*"),
        ),
        "Sanitize.BlockErase",
        _SKIPS,
    ),
    HandedOn(("PreventAllow.[!S]*",), "PreventAllow.Simple", _SKIPS),
    HandedOn(("StartStopUnit.[!S]*",), "StartStopUnit.Simple", _SKIPS),
    HandedOn(("WriteAtomic16.[!S]*",), "WriteAtomic16.Simple", _SKIPS),
)


def spared(test: str) -> bool:
    """Whether the kernel's target is spared a test."""
    return any(row.covers(test) for row in HANDED_ON)
