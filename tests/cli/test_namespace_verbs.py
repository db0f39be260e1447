"""Namespaces that are created, deleted, attached, detached and resized while a daemon serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.row import ALL_NAMESPACES
from scsi2nvme.drivers.emulated.capabilities.namespace_management import RESIZE
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE, LBA_FORMAT
from tests.cli.played import played
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

DISK = "emulated:memory,size=1M,namespaces=2,capacity=8M"
CAPACITY_CHANGED, LUNS_CHANGED, POWER_ON = (6, 0x2A, 9), (6, 0x3F, 0xE), (6, 0x29, 0)
LUN_NOT_SUPPORTED, OUT_OF_RANGE = (5, 0x25, 0), (5, 0x21, 0)
TEST_UNIT_READY = bytes(6)
_SERIALS = "abc"
WRITE = row("WRITE (10)").build(lba=2, transfer_length=1)
READ = row("READ (10)").build(lba=2, transfer_length=1)


# ---- what verbs send ----


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("create-ns -s 100", {"nsze": 100, "ncap": 100}),
        ("create-ns -s 100 -c 80 -f 1 -d 2 -m 1", {"ncap": 80, "flbas": 1, "dps": 2, "nmic": 1}),
        ("create-ns -s 1 -a 5 -i 6 -e 7", {"anagrpid": 5, "nvmsetid": 6, "endgid": 7}),
        ("create-ns -S 1Gi -b 4096", {"nsze": 1 << 18, "ncap": 1 << 18, "flbas": 1}),
        ("create-ns -S 10M -C 8192", {"nsze": 19531, "ncap": 16}),
    ],
)
def test_what_is_to_be_created(line: str, told: dict[str, int]) -> None:
    asked, shown = played(f"{line} -t 500", lambda command: Completion(dw0=9))
    command = asked[-1]
    assert (command.opcode, command.nsid, command.cdw10) == (AdminOpcode.NAMESPACE_MANAGEMENT, 0, 0)
    assert command.timeout_s == 0.5
    data = IDENTIFY_NAMESPACE.parse(command.data_out)
    assert {name: data[name] for name in told} == told
    assert shown.lines == ("create-ns: Success, created nsid:9",)
    assert shown.json == {"nsid": 9}


def _many(flbas: int = 0, nlbaf: int = 63) -> bytes:
    """Return Identify Namespace, with a 4 KiB format without metadata at 37 alone."""
    plain = [LBA_FORMAT.build(ms=8, lbads=9)] * 64
    plain[37] = LBA_FORMAT.build(lbads=12)
    return IDENTIFY_NAMESPACE.build(nlbaf=nlbaf, flbas=flbas, lbafs=b"".join(plain))


@pytest.mark.parametrize("nlbaf", [63, 255])
@pytest.mark.parametrize("line", ["create-ns -S 1Mi -b 4096", "create-ns -S 1Mi -f 0x45"])
def test_a_namespace_is_created_with_a_format_of_a_high_number(line: str, nlbaf: int) -> None:
    asked, _ = played(line, namespace=lambda nsid: _many(nlbaf=nlbaf))
    data = IDENTIFY_NAMESPACE.parse(asked[-1].data_out)
    assert (data.flbas, data.nsze) == (0x45, 256)


def test_what_is_not_told_of_all_namespaces_is_asked_of_the_first() -> None:
    nothing = IDENTIFY_NAMESPACE.build()
    told = {ALL_NAMESPACES: nothing, 1: _many()}
    asked, _ = played("create-ns -S 1Mi -b 4096", namespace=lambda nsid: told[nsid])
    assert [command.nsid for command in asked] == [ALL_NAMESPACES, 1, 0]
    assert IDENTIFY_NAMESPACE.parse(asked[-1].data_out).flbas == 0x45


@pytest.mark.parametrize("line", ["format -n 1 --force", "format -n 1 -b 4096 --force"])
def test_a_format_of_a_high_number_is_kept_or_found(line: str) -> None:
    asked, _ = played(line, namespace=lambda nsid: _many(0x45))
    assert asked[-1].cdw10 == 0x2005


@pytest.mark.parametrize(
    ("line", "opcode", "select", "controllers", "shown"),
    [
        ("delete-ns -n 3", 0x0D, 1, None, "delete-ns: Success, deleted nsid:3"),
        ("delete-ns -n 0xffffffff", 0x0D, 1, None, "delete-ns: Success, deleted nsid:all"),
        ("attach-ns -n 3 -c 4,1", 0x15, 0, [1, 4], "attach-ns: Success, nsid:3"),
        ("attach-ns -n 3", 0x15, 0, [7], "attach-ns: Success, nsid:3"),
        ("detach-ns -n 3 -c 0x10", 0x15, 1, [16], "detach-ns: Success, nsid:3"),
    ],
)
def test_who_goes_and_comes(
    line: str, opcode: int, select: int, controllers: list[int] | None, shown: str
) -> None:
    def answer(command: NvmeCommand) -> Completion:
        return Completion(data=IDENTIFY_CONTROLLER.build(cntlid=7))

    asked, told = played(line, answer)
    command = asked[-1]
    assert (command.opcode, command.cdw10) == (opcode, select)
    if controllers is not None:
        count, *words = memoryview(command.data_out).cast("H").tolist()
        assert words[:count] == controllers
    assert told.lines == (shown,)


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("create-ns", UsageError, "give its size"),
        ("create-ns -s 1 -S 1G", UsageError, "give its size"),
        ("create-ns -s 1 -c 1 -C 1G", UsageError, "--ncap or --ncap-si"),
        ("create-ns -s 1 -f 1 -b 512", UsageError, "--flbas or --block-size"),
        ("create-ns -s 1 -b 520", OperationError, "no blocks of 520 bytes"),
        ("create-ns -S 1G -f 9", OperationError, "no LBA format 9"),
    ],
)
def test_what_makes_no_sense(line: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        played(line)


def test_a_spec_is_managed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = f"emulated:{tmp_path}/disk.img,size=1M,capacity=4M"
    assert main(["create-ns", disk, "-S", "1Mi"]) == 0
    assert main(["attach-ns", disk, "-n", "2"]) == 0
    assert main(["detach-ns", disk, "-n", "1"]) == 0
    assert main(["delete-ns", disk, "-n", "1"]) == 0
    capsys.readouterr()
    assert main(["list-ns", disk, "-a"]) == 0
    assert main(["create-ns", disk, "-S", "4Mi"]) == 1
    told = capsys.readouterr()
    assert told.out == "[   0]:0x2\n"
    assert told.err == (
        "scsi2nvme: create-ns: the controller answers: Namespace Insufficient Capacity "
        "(SCT 1h SC 15h); see: error-log\n"
    )


# ---- while a daemon serves ----


@dataclass
class Served:
    """One of a daemon's controllers, by its number, and who uses its target."""

    daemon: Daemon
    number: int
    initiator: Initiator

    def verb(self, name: str, *words: str) -> int:
        """Have the controller do what a verb says."""
        return main([name, str(self.number), *words, "--state-dir", str(self.daemon.state_dir)])

    def told(self, lun: int) -> list[tuple[int, int, int]]:
        """Return what the initiator is told, until the logical unit is ready or is not there."""
        found = []
        while (answer := self.initiator.command(lun, TEST_UNIT_READY)).status:
            found.append(answer.sense_triple)
            if answer.sense_triple[0] != 6:
                break
        return found

    def luns(self) -> list[int]:
        cdb = row("REPORT LUNS").build(allocation_length=256)
        data = self.initiator.command(0, cdb, data_in=256).data
        return [data[offset + 1] for offset in range(8, len(data), 8)]

    def blocks(self, lun: int) -> int:
        cdb = row("READ CAPACITY (10)").build()
        data = self.initiator.command(lun, cdb, data_in=8).data
        return int.from_bytes(data[:4], "big") + 1

    def resize(self, nsid: int, blocks: int) -> None:
        """As another host may do it."""
        words = ["admin-passthru", "-o", str(RESIZE), "-n", str(nsid), "-4", str(blocks), "--force"]
        assert self.verb(*words) == 0


@pytest.fixture(scope="module")
def controllers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[tuple[Daemon, int]]]:
    """Yield a daemon's controllers, one for each test."""
    disks = (f"{DISK},serial={serial}" for serial in _SERIALS)
    with Daemon(tmp_path_factory.mktemp("daemon"), *disks) as daemon:
        yield ((daemon, number) for number in range(len(_SERIALS)))


@pytest.fixture
def served(controllers: Iterator[tuple[Daemon, int]]) -> Iterator[Served]:
    daemon, number = next(controllers)
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(f"{IQN}:scsi2nvme-emulated-controller-{_SERIALS[number]}")
        for lun in (0, 1):
            one.hear(lun)
        yield Served(daemon, number, one)


def test_luns_come_and_go_with_the_verbs(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    one = served.initiator
    assert one.command(0, WRITE, data_out=b"\5" * 512).status == 0
    assert served.verb("create-ns", "-s", "4096") == 0
    assert capsys.readouterr().out == "create-ns: Success, created nsid:3\n"
    assert not served.told(0)  # nobody has it
    assert served.verb("attach-ns", "-n", "3") == 0
    assert served.told(0) == served.told(1) == [LUNS_CHANGED]
    assert served.luns() == [0, 1, 2]
    assert served.told(2) == [POWER_ON]
    assert served.blocks(2) == 4096
    assert one.command(2, WRITE, data_out=b"\7" * 512).status == 0

    capsys.readouterr()
    for verb in ("detach-ns", "delete-ns"):
        assert served.verb(verb, "-n", "3") == 1
        told = capsys.readouterr().err
        assert "it takes away namespaces that are served; --force does it all the same" in told
    assert served.luns() == [0, 1, 2]

    assert served.verb("detach-ns", "-n", "3", "--force") == 0
    assert served.told(2) == [LUN_NOT_SUPPORTED]
    assert served.told(0) == served.told(1) == [LUNS_CHANGED]
    assert served.luns() == [0, 1]
    assert served.verb("attach-ns", "-n", "3") == 0
    assert served.told(2) == [POWER_ON]
    assert one.command(2, READ, data_in=512).data == b"\7" * 512
    assert served.verb("delete-ns", "-n", "3", "--force") == 0
    assert served.told(2) == [LUN_NOT_SUPPORTED]
    assert served.verb("create-ns", "-s", "8192") == 0
    assert served.verb("delete-ns", "-n", "3") == 0  # nobody has it
    assert one.command(0, READ, data_in=512).status != 0  # of LUNs
    assert one.command(0, READ, data_in=512).data == b"\5" * 512


def test_another_namespace_under_a_number_is_another_disk(served: Served) -> None:
    one = served.initiator
    identification = row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=255)
    before = one.command(1, identification, data_in=255).data
    assert one.command(1, WRITE, data_out=b"\7" * 512).status == 0
    assert served.verb("delete-ns", "-n", "2", "--force") == 0
    assert served.verb("create-ns", "-s", "2048") == 0
    assert served.verb("attach-ns", "-n", "2") == 0
    assert served.told(1) == [POWER_ON]
    assert one.command(1, identification, data_in=255).data != before
    assert one.command(1, READ, data_in=512).data == bytes(512)


def test_a_namespace_that_changes_its_size(served: Served) -> None:
    one = served.initiator
    end = row("READ (10)").build(lba=4095, transfer_length=1)
    assert one.command(0, end, data_in=512).sense_triple == OUT_OF_RANGE
    assert one.command(0, WRITE, data_out=b"\5" * 512).status == 0
    served.resize(1, 4096)
    assert served.told(0) == [CAPACITY_CHANGED]
    assert not served.told(1)
    assert served.blocks(0) == 4096
    assert one.command(0, end, data_in=512).status == 0
    assert one.command(0, READ, data_in=512).data == b"\5" * 512
    served.resize(1, 1024)
    assert served.told(0) == [CAPACITY_CHANGED]
    assert served.blocks(0) == 1024
    assert one.command(0, end, data_in=512).sense_triple == OUT_OF_RANGE
    assert one.command(0, READ, data_in=512).data == b"\5" * 512
