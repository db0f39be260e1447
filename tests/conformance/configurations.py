"""In which configurations the suite runs, and what it is known not to pass there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.daemon import Daemon

# Families whose tests write, but for a few that only look at refusals.
_WRITING = (
    "CompareAndWrite",
    "ExtendedCopy",
    "GetLBAStatus",
    "MultipathIO",
    "OrWrite",
    "ProutReserve",
    "ReceiveCopyResults",
    "Sanitize",
    "Unmap",
    "Write*",
    "iSCSIResiduals",
    "iSCSITMF",
)
# Alike but for the length of their CDBs, which a row of a table decodes however the disk is
# formatted: where blocks are of another size, or of another controller, one of each is enough.
_ALIKE = (
    "OrWrite",
    "Prefetch1?",
    "Read1[26]",
    "ReadDefectData1?",
    "Verify1[26]",
    "Write1[26]",
    "WriteSame10",
    "WriteVerify1[26]",
)
# These wait for seconds, for what is of sessions and knows of no blocks: they run over 512-byte
# blocks of each controller, and with CHAP.
_OF_SESSIONS = ("Reserve6", "iSCSIcmdsn")
# The suite waits for two seconds before it finds that SANITIZE is not there.
_NO_SANITIZE = ("Sanitize",)
# The suite resets targets, which is refused unless it is allowed.
_COLD_RESET = "cold_reset = true\n"
_CHAP = '[chap]\nname = "user"\nsecret = "a secret of 20 bytes"\n'


@dataclass(frozen=True, slots=True)
class Configuration:
    """A served disk: `controller` is a SPEC in which {disk} stands for an image's path."""

    name: str
    controller: str
    paths: int = 1  # URLs, each a session of its own
    block_bytes: int = 512
    config: str = ""
    credentials: str = ""
    physical_blocks: bool = False  # larger than logical ones
    thin: bool = True
    read_only: bool = False
    sanitizes: bool = False
    removable: bool = False
    atomic: bool = False  # 256 blocks, too, are written as a whole
    logs: str = ""  # a line with these words may be logged
    only: tuple[str, ...] = ()  # patterns of the families that it is for; none: of all
    left_out: tuple[str, ...] = ()  # patterns of families that make no sense, or show nothing more
    fails: tuple[Exemption, ...] = ()  # besides what no target can pass
    skips: tuple[Exemption, ...] = ()  # besides what every target like this skips
    races: tuple[Exemption, ...] = ()  # passed or failed as it happens, not by us

    def includes(self, family: str) -> bool:
        """Whether the tests of a family are run."""
        wanted = not self.only or any(fnmatch(family, pattern) for pattern in self.only)
        return wanted and not any(fnmatch(family, pattern) for pattern in self.left_out)

    @contextmanager
    def served(self) -> Iterator[list[str]]:
        """Serve a new disk; gives the URLs. In the end nothing may have been logged."""
        with TemporaryDirectory() as directory:
            spec = self.controller.format(disk=f"{directory}/disk.img")
            with Daemon(Path(directory), spec, config=_COLD_RESET + self.config) as daemon:
                yield [daemon.url(credentials=self.credentials)] * self.paths
            lines = daemon.log.read_text().splitlines()
            surprising = [line for line in lines if not self.logs or self.logs not in line]
            assert not surprising, "\n".join(surprising)


CONFIGURATIONS = {
    each.name: each
    for each in (
        Configuration(
            "emulated, 512 on 4096, two paths",
            "emulated:{disk},size=1G",
            paths=2,
            physical_blocks=True,
        ),
        Configuration(
            "emulated, 4096",
            "emulated:{disk},size=1G,block=4096",
            block_bytes=4096,
            left_out=_OF_SESSIONS + _NO_SANITIZE,
        ),
        Configuration(
            "emulated, 4096, not thin",
            "emulated:{disk},size=1G,block=4096,thin=off",
            block_bytes=4096,
            thin=False,
            # What tells of provisioning, or makes use of it.
            only=(
                *("GetLBAStatus", "Inquiry", "Mandatory", "ModeSense6", "ReadCapacity1?"),
                *("ReportSupportedOpcodes", "Unmap", "Write10", "WriteSame1?"),
            ),
        ),
        Configuration("QEMU, 512", "qemu:{disk},size=1G"),
        Configuration(
            "QEMU, 4096, two paths",
            "qemu:{disk},size=1G,block=4096",
            paths=2,
            block_bytes=4096,
            left_out=_ALIKE + _OF_SESSIONS + _NO_SANITIZE,
        ),
        Configuration(
            "emulated, read-only",
            "emulated:{disk},size=1G,readonly=on",
            physical_blocks=True,
            read_only=True,
            left_out=_WRITING + _OF_SESSIONS,
        ),
        Configuration(
            "emulated, CHAP",
            "emulated:memory,size=1G",
            config=_CHAP,
            credentials="user%a secret of 20 bytes@",
            physical_blocks=True,
            left_out=_ALIKE + _NO_SANITIZE,
        ),
        Configuration(
            "emulated, atomic",
            "emulated:memory,size=64M,atomic=1M",
            physical_blocks=True,
            atomic=True,
            only=("WriteAtomic16",),
        ),
        Configuration(
            "emulated, removable",
            "emulated:memory,size=64M,removable=on",
            physical_blocks=True,
            removable=True,
            only=("NoMedia", "PreventAllow", "StartStopUnit"),
        ),
        Configuration(
            "emulated, SANITIZE",
            # It takes so long that it goes on while the suite looks what is refused meanwhile.
            "emulated:memory,size=64M,sanitize=on,sanicap=block+crypto+overwrite,sanitize_s=16",
            physical_blocks=True,
            sanitizes=True,
            logs="a sanitize operation has ended",
            only=("Sanitize",),
        ),
    )
}
# These families get a new disk: MultipathIO.CompareAndWrite zeroes 256 blocks and uses 257.
PARTICULAR = ("MultipathIO",)
# These leave something behind: what follows gets a new disk. Where they are not refused, each has a
# disk of its own, and all run at once: the suite waits for minutes in them.
UNTIDY = ("Sanitize",)


@dataclass(frozen=True, slots=True)
class Exemption:
    """Tests (a pattern of FAMILY.TEST) that do not pass, why, and in which configurations."""

    tests: str
    why: str
    where: Callable[[Configuration], bool] = lambda configuration: True

    def covers(self, test: str, configuration: Configuration) -> bool:
        """Whether it speaks of a test in a configuration."""
        return fnmatch(test, self.tests) and self.where(configuration)


_ZERO_BLOCKS = "WSNZ is set where disks are thin: the test sees zero blocks refused, and ends"
_THIN = "only on a thin disk"
_REMOVABLE = "only with a removable medium"
_ONE_BLOCK = "only where a physical block holds several logical blocks"


def _one_logical_block(configuration: Configuration) -> bool:
    return not configuration.physical_blocks


def _not_thin(configuration: Configuration) -> bool:
    return not configuration.thin


# Every test that skips itself, and no other, is here.
SKIPS = (
    Exemption(
        "Sanitize.*",
        "SANITIZE is only there where the configuration permits it, and the controller has it",
        lambda where: not where.sanitizes,
    ),
    Exemption(
        "WriteAtomic16.VPD", "only where atomic writes have a granularity, which NVMe does not know"
    ),
    Exemption(
        "WriteAtomic16.*",
        "only where the controller promises to write several blocks as a whole",
        lambda where: not where.physical_blocks,
    ),
    Exemption("NoMedia.*", _REMOVABLE, lambda where: not where.removable),
    Exemption("PreventAllow.*", _REMOVABLE, lambda where: not where.removable),
    Exemption("StartStopUnit.*", _REMOVABLE, lambda where: not where.removable),
    Exemption("ReadOnly.*", "only on a read-only disk", lambda where: not where.read_only),
    Exemption("MultipathIO.*", "only with two paths", lambda where: where.paths < 2),
    Exemption("CompareAndWrite.InvalidDataOutSize", _ONE_BLOCK, _one_logical_block),
    Exemption("WriteSame1?.InvalidDataOutSize", _ONE_BLOCK, _one_logical_block),
    Exemption("WriteSame1?.UnmapUnaligned", _ONE_BLOCK, _one_logical_block),
    Exemption("WriteSame1?.ZeroBlocks", _ZERO_BLOCKS, lambda where: where.thin),
    Exemption("GetLBAStatus.UnmapSingle", _THIN, _not_thin),
    Exemption("Inquiry.BlockLimits", _THIN, _not_thin),
    Exemption("Unmap.*", _THIN, _not_thin),
    Exemption("WriteSame1?.Unmap", _THIN, _not_thin),
    Exemption("WriteSame1?.UnmapUntilEnd", _THIN, _not_thin),
)

# Tests that are wrong themselves: no target can pass them, and none passes by chance.
IMPOSSIBLE = (
    Exemption(
        "iSCSITMF.LUNResetSimpleAsync",
        "asserts that a reconnect succeeded before any was attempted, then frees what is in use",
    ),
    Exemption(
        "GetLBAStatus.UnmapSingle",
        "asks for the status from LBA i+1 on and wants an answer that begins at "
        "i + the logical blocks of a physical block",
        lambda where: where.physical_blocks,
    ),
)

# Tests that want what is refused on purpose.
REFUSED = (
    Exemption(
        "StartStopUnit.PwrCnd",
        "sends every power condition, and wants reserved ones to be GOOD",
        lambda where: where.removable,
    ),
    Exemption(
        "StartStopUnit.NoLoej",
        "stops the unit, and wants it to be ready",
        lambda where: where.removable,
    ),
    Exemption(
        "WriteAtomic16.Simple",
        "writes 1 to 256 blocks, whatever MAXIMUM ATOMIC TRANSFER LENGTH says: more than the "
        "controller promises is refused",
        lambda where: where.physical_blocks and not where.atomic,
    ),
    Exemption(
        "ProutReserve.Access*",
        "writes one block with 512 bytes, whatever its length: data that end within a block are "
        "refused, where they would be dropped else",
        lambda where: where.block_bytes != 512,
    ),
)


def exempt(table: tuple[Exemption, ...], test: str, configuration: Configuration) -> bool:
    """Whether a table speaks of a test in a configuration."""
    return any(row.covers(test, configuration) for row in table)
