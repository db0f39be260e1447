"""Commands that hang in the disk: whoever gives them up goes on, and nobody else waits for them."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon, target, targets
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import IMMEDIATE, SIMPLE
from tests.support import row

ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET, TARGET_WARM_RESET = 1, 2, 4, 5, 6
TASK_ABORTED = 0x40
IMMEDIATE_COMMANDS = 16  # that a session may have beside those of its window
SECONDS = 20  # less than what an I/O command has by itself
ORDERED = 2
HOST = "iqn.2026-11.test:host"
OTHER = "iqn.2026-11.test:other"
TUR = bytes(6)
INQUIRY = row("INQUIRY").build(allocation_length=36)


def unmap(lba: int, blocks: int) -> tuple[bytes, bytes]:
    descriptor = lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(4)
    data = bytes([0, 22, 0, 16, 0, 0, 0, 0]) + descriptor
    return row("UNMAP").build(parameter_list_length=len(data)), data


BLOCK = b"\x5a" * 512
READ = row("READ (10)").build(transfer_length=1), b""
WRITE = row("WRITE (10)").build(transfer_length=1), BLOCK
# What hangs, the command that becomes it, and its task attribute.
COMMANDS = {
    "UNMAP": ("dataset-management", unmap(0, 64), SIMPLE),
    "WRITE SAME": (
        "write-zeroes",
        (row("WRITE SAME (16)").build(number_of_blocks=8), bytes(512)),
        SIMPLE,
    ),
    "COMPARE AND WRITE": (
        "compare",
        (row("COMPARE AND WRITE").build(number_of_blocks=1), bytes(512) + BLOCK),
        SIMPLE,
    ),
    "ORWRITE": ("read", (row("ORWRITE (16)").build(transfer_length=1), BLOCK), SIMPLE),
    "VERIFY": ("verify", (row("VERIFY (10)").build(verification_length=1), b""), SIMPLE),
    "WRITE AND VERIFY": (
        "verify",
        (row("WRITE AND VERIFY (10)").build(transfer_length=1), BLOCK),
        SIMPLE,
    ),
    "SYNCHRONIZE CACHE": ("flush", (row("SYNCHRONIZE CACHE (10)").build(), b""), SIMPLE),
    "ordered WRITE": ("write", WRITE, ORDERED),
    "ordered READ": ("read", READ, ORDERED),
    "WRITE": ("write", WRITE, SIMPLE),
    "READ": ("read", READ, SIMPLE),
    "START STOP UNIT": ("flush", (row("START STOP UNIT").build(), b""), SIMPLE),
    "LOG SENSE": (
        "get-log-page",
        (row("LOG SENSE").build(pc=1, page_code=0x0D, allocation_length=255), b""),
        SIMPLE,
    ),
    "MODE SENSE": (
        "get-features",
        (row("MODE SENSE (10)").build(page_code=0x08, allocation_length=255), b""),
        SIMPLE,
    ),
    "SEND DIAGNOSTIC": (
        "device-self-test",
        (row("SEND DIAGNOSTIC").build(selftest=1), b""),
        SIMPLE,
    ),
}


def hanging(what: str) -> str:
    """Return the fault that a command meets, and none elsewhere on the disk."""
    opcode = COMMANDS[what][0]
    has_blocks = opcode in ("read", "write", "compare", "verify", "write-zeroes")
    read_before = ":after=1" if opcode == "get-log-page" else ""  # by the driver, at the start
    return f"{opcode}:hang" + (":lba=0-9" if has_blocks else f"{read_before}:count=1")


@contextmanager
def serving(tmp_path: Path, *faults: Iterable[str]) -> Iterator[Daemon]:
    """Serve a disk for each group of faults, and a sound one."""
    disks = [
        ",".join(["emulated:memory,size=16M", *(f"fault={fault}" for fault in group)])
        for group in (*faults, ())
    ]
    with Daemon(tmp_path, config=targets(*disks), arguments=("--reactors", "1")) as daemon:
        yield daemon


@contextmanager
def initiator(daemon: Daemon, disk: int = 0, name: str = HOST) -> Iterator[Initiator]:
    """Log in, and take the unit attention."""
    with Initiator(("127.0.0.1", daemon.port), name) as one:
        one.sock.settimeout(SECONDS)
        one.login(target(disk))
        one.command(0, TUR)
        yield one


def begin(one: Initiator, what: str) -> int:
    """Send a command that hangs in the disk; return its tag once it does."""
    _, (cdb, data), attribute = COMMANDS[what]
    itt = one.next_itt()
    reads = data == b"" and cdb[0] in (0x28, 0x4D, 0x5A)
    length = len(data) or (512 if reads else 0)
    bhs = one.command_bhs(
        0, cdb, itt=itt, edtl=length, read=reads, write=bool(data), attribute=attribute
    )
    one.send(bhs, data)
    for _ in range(4):  # what waits for nothing is answered after what came before has begun
        one.command(0, INQUIRY, data_in=36)
    return itt


def abort_all(one: list[Initiator], tags: list[int]) -> list[int]:
    """Abort a task of each initiator, at the same time; return the responses."""
    for initiator, itt in zip(one, tags, strict=True):
        initiator.request_task_management(ABORT_TASK, referenced=itt)
    return [initiator.receive().response for initiator in one]


def usable(one: Initiator) -> bool:
    """Whether blocks beside those of the commands can be written and read."""
    written = one.command(0, row("WRITE (10)").build(lba=99, transfer_length=1), data_out=BLOCK)
    read = one.command(0, row("READ (10)").build(lba=99, transfer_length=1), data_in=512)
    return written.status == 0 and read.data == BLOCK


HOT_AND_COLD = ("READ", "WRITE", "UNMAP", "SYNCHRONIZE CACHE", "WRITE SAME", "ordered WRITE")
ABORTS_NOTHING = ("abort:status=0/06", "abort:hang:count=1")


@pytest.mark.parametrize("abort", [(), *((each,) for each in ABORTS_NOTHING)], ids=str)
def test_every_command_is_aborted(tmp_path: Path, abort: tuple[str, ...]) -> None:
    """Where the disk does not abort it, by a reset."""
    faults = [(hanging(what), *abort) for what in COMMANDS]
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(tmp_path, *faults))
        all_of_them = [stack.enter_context(initiator(daemon, n)) for n in range(len(COMMANDS))]
        tags = [begin(one, what) for one, what in zip(all_of_them, COMMANDS, strict=True)]
        assert abort_all(all_of_them, tags) == [0] * len(COMMANDS)
        for one, what in zip(all_of_them, COMMANDS, strict=True):
            assert usable(one), what


def test_a_reset_that_hangs_as_well_keeps_nobody_waiting(tmp_path: Path) -> None:
    faults = [(hanging(what), ABORTS_NOTHING[0], "create-cq:hang:after=2") for what in HOT_AND_COLD]
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(tmp_path, *faults))
        hosts = [stack.enter_context(initiator(daemon, n)) for n in range(len(faults))]
        tags = [begin(one, what) for one, what in zip(hosts, HOT_AND_COLD, strict=True)]
        assert abort_all(hosts, tags) == [0] * len(hosts)
        for n, one in enumerate(hosts):
            assert one.command(0, INQUIRY, data_in=36).status == 0
            with initiator(daemon, n):  # which ends the session of the same name
                assert one.closed_by_target()
        daemon.stop(signal.SIGKILL)  # it gives a hanging reset time


def test_another_host_ends_what_hangs(tmp_path: Path) -> None:
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(tmp_path, *[(hanging("UNMAP"),)] * 2))
        for disk, function in enumerate((LOGICAL_UNIT_RESET, TARGET_WARM_RESET)):
            one = stack.enter_context(initiator(daemon, disk))
            other = stack.enter_context(initiator(daemon, disk, OTHER))
            itt = begin(one, "UNMAP")
            assert other.task_management(function).response == 0
            ended = one.receive()
            assert (ended.itt, ended.scsi_status) == (itt, TASK_ABORTED)
            assert one.command(0, TUR).sense_triple == (6, 0x29, 0x03)
            other.command(0, TUR)
            assert usable(other)


def test_what_hangs_waits_for_the_format_of_another_disk(tmp_path: Path) -> None:
    """A reset would corrupt the medium. What reads is answered in time all the same."""
    faults = ("format-nvm:delay=4000", "read:hang:nsid=2:count=1", "abort:status=0/06")
    disk = ",".join(["emulated:memory,size=1M,namespaces=2", *(f"fault={one}" for one in faults)])
    with Daemon(tmp_path, disk) as daemon, ExitStack() as stack:
        address = ("127.0.0.1", daemon.port)
        formats, reads = (stack.enter_context(Initiator(address, name)) for name in (HOST, OTHER))
        for one in (formats, reads):
            one.login(IQN)
            one.hear(0)
            one.hear(1)
        format_unit = formats.begin(0, row("FORMAT UNIT").build())
        formats.command(1, INQUIRY, data_in=36)  # it has begun
        read = reads.begin(1, READ[0], data_in=512)
        assert reads.task_management(ABORT_TASK, lun=1, referenced=read).response == 0
        assert formats.finish(format_unit).status == 0
        assert formats.command(0, TUR).status == 0
        assert reads.command(1, READ[0], data_in=512).status == 0


def test_a_host_clears_its_own_task_set(tmp_path: Path) -> None:
    with (
        serving(tmp_path, (hanging("UNMAP"),)) as daemon,
        initiator(daemon) as one,
        initiator(daemon, 0, OTHER) as other,
    ):
        itt = begin(one, "UNMAP")
        assert other.task_management(CLEAR_TASK_SET).response == 0
        assert usable(other)
        assert one.task_management(CLEAR_TASK_SET).response == 0
        assert one.task_management(ABORT_TASK, referenced=itt).response == 1  # no longer there
        assert usable(one)


def test_a_host_that_comes_back_is_let_in(tmp_path: Path) -> None:
    with serving(tmp_path, (hanging("UNMAP"),)) as daemon, initiator(daemon) as one:
        begin(one, "UNMAP")
        with initiator(daemon) as again:  # with the same ISID
            assert usable(again)
        assert one.closed_by_target()


def leave_unread(one: Initiator) -> None:
    """Send more commands than the target takes: it reads no FIN behind them."""
    for _ in range(one.max_cmd_sn - one.cmd_sn + 1):
        one.begin(0, READ[0], data_in=512)
    for _ in range(IMMEDIATE_COMMANDS + 1):
        bhs = one.command_bhs(0, READ[0], itt=one.next_itt(), edtl=512, read=True)
        one.send(bytes([bhs[0] | IMMEDIATE]) + bhs[1:])
    one.close()


def test_what_a_host_left_behind_is_gone_when_it_comes_back(tmp_path: Path) -> None:
    """By another port."""
    with serving(tmp_path, (hanging("READ"),)) as daemon:
        with initiator(daemon) as one:
            assert one.command(0, row("RESERVE (6)").build()).status == 0
            leave_unread(one)
        with Initiator(("127.0.0.1", daemon.port), HOST, isid=b"\x80\0\0\0\0\x02") as again:
            again.login(target(0))
            again.hear()
            assert again.command(0, TUR).status == 0
            assert usable(again)


def test_a_host_that_comes_back_to_its_session_has_it(tmp_path: Path) -> None:
    """By another connection of the same CID, whose login is not what ends the session."""
    with serving(tmp_path, (hanging("READ"),)) as daemon:
        with initiator(daemon) as one:
            leave_unread(one)
        with Initiator(("127.0.0.1", daemon.port), HOST, tsih=one.tsih) as again:
            again.cmd_sn = again.login(target(0)).exp_cmd_sn
            assert again.tsih == one.tsih
            again.ping()  # its answer tells of a window that may have been used up
            assert again.command(0, TUR).status == 0, "the nexus was not lost"


def test_what_takes_long_holds_nobody_up(tmp_path: Path) -> None:
    """Another host's lock of its file system (ATS), and its question whether the disk is there."""
    with (
        serving(tmp_path, ("dataset-management:delay=15000",)) as daemon,
        initiator(daemon) as one,
        initiator(daemon, 0, OTHER) as other,
    ):
        itt = begin(one, "UNMAP")
        cdb, data = COMMANDS["COMPARE AND WRITE"][1]
        lba = 64  # the first that is not unmapped
        assert other.command(0, cdb[:9] + bytes([lba]) + cdb[10:], data_out=data).status == 0
        assert other.command(0, TUR).status == 0
        assert usable(other)
        one.sock.setblocking(False)
        with pytest.raises(BlockingIOError):  # it goes on
            one.sock.recv(1)
        one.sock.settimeout(SECONDS)
        assert one.task_management(ABORT_TASK, referenced=itt).response == 0


@pytest.mark.parametrize(
    "function", [ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET, TARGET_WARM_RESET]
)
def test_what_is_sent_after_the_request_is_answered(tmp_path: Path, function: int) -> None:
    """All of it at once: nothing has been aborted yet when the last command arrives."""
    with serving(tmp_path, ["read:delay=300:lba=0-9"]) as daemon, initiator(daemon) as one:

        def read() -> int:
            itt = one.next_itt()
            one.send(one.command_bhs(0, READ[0], itt=itt, edtl=512, read=True))
            return itt

        before = [read()]
        one.request_task_management(function)
        before.append(read())
        one.request_task_management(function)  # of resets, the next is not due yet
        after = [read() for _ in range(3)]
        answered = {one.receive().itt for _ in range(len(after) + 2)}
        assert answered.issuperset(after)
        assert answered.isdisjoint(before)
        one.hear()
        assert usable(one)


def test_who_waits_to_be_alone_lets_others_go_on(tmp_path: Path) -> None:
    with (
        serving(tmp_path, (hanging("UNMAP"),)) as daemon,
        initiator(daemon) as one,
        initiator(daemon, 0, OTHER) as stops,
        initiator(daemon, 0, f"{HOST}2") as another,
    ):
        begin(one, "UNMAP")
        stop = stops.begin(0, row("START STOP UNIT").build(start=1))
        assert usable(another)
        assert usable(another)
        assert stops.task_management(ABORT_TASK, referenced=stop).response == 0
        assert usable(another)
