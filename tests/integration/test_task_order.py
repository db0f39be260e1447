"""In which order the commands of a host take effect, and what that costs other hosts."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon, scsi2nvme
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import DATA_IN, R2T, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE
from tests.support import row

BLOCK = 512
SIMPLE, ORDERED, HEAD_OF_QUEUE = 1, 2, 3
GOOD = 0
BLOCKS = 8  # that are written and read
LONG = 64 * BLOCK  # a write whose data are asked for
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET = 1, 2, 4
DISK = "emulated:memory,size=64M"
PASSING = ("INQUIRY", "REPORT LUNS", "REQUEST SENSE")
# What comes to some blocks is late, so that the disk itself keeps no order.
LATE = ("write:delay=9:lba=0-1", "read:delay=5:lba=4-5", "write:delay=3:lba=6-7")


@contextmanager
def serving(tmp_path: Path, *faults: str) -> Iterator[Daemon]:
    words = ",".join([DISK, *(f"fault={fault}" for fault in faults)])
    with Daemon(tmp_path, words, arguments=("--reactors", "1")) as daemon:
        yield daemon


def login(daemon: Daemon, number: int = 1, **keys: str) -> Initiator:
    one = Initiator(("127.0.0.1", daemon.port), isid=bytes([0x80, 0, 0, 0, 0, number]), timeout=20)
    one.login(IQN, keys)
    while one.command(0, bytes(6)).status != GOOD:
        pass
    return one


@dataclass
class Sent:
    """A command, and its end."""

    attribute: int
    lba: int  # of a write, -1: all are read
    data_out: bytes = b""
    data_in: bytes = b""
    status: int | None = None

    @property
    def writes(self) -> bool:
        return self.lba >= 0


class Host:
    """Sends commands without waiting for their ends."""

    def __init__(self, initiator: Initiator) -> None:
        self.initiator = initiator
        self.sent: dict[int, Sent] = {}

    def send(self, attribute: int, lba: int = -1, data: bytes = b"") -> int:
        if lba >= 0:
            cdb = row("WRITE (10)").build(lba=lba, transfer_length=len(data) // BLOCK)
        else:
            cdb = row("READ (10)").build(transfer_length=BLOCKS)
        data_in = 0 if lba >= 0 else BLOCKS * BLOCK
        itt = self.initiator.begin(0, cdb, data_out=data, data_in=data_in, attribute=attribute)
        self.sent[itt] = Sent(attribute, lba, data)
        return itt

    def serve(self, rng: random.Random) -> None:
        """Answer R2Ts, and take what comes, until all have ended; data come as late as may be."""
        asked = []
        while any(each.status is None for each in self.sent.values()):
            pdu = self.initiator.receive()
            if pdu.opcode == TASK_MANAGEMENT_RESPONSE:
                assert pdu.response == 0
                continue
            sent = self.sent[pdu.itt]
            if pdu.opcode == R2T:
                asked.append(pdu)
                rng.shuffle(asked)
                while asked:
                    late = asked.pop()
                    self.initiator._answer_r2t(late, 0, self.sent[late.itt].data_out)
            elif pdu.opcode == DATA_IN:
                sent.data_in += pdu.data
                if pdu.flags & 1:
                    sent.status = pdu.scsi_status
            else:
                assert pdu.opcode == SCSI_RESPONSE
                sent.status = pdu.scsi_status


def read(one: Initiator) -> bytes:
    cdb = row("READ (10)").build(transfer_length=BLOCKS)
    return one.command(0, cdb, data_in=BLOCKS * BLOCK).data


def reset_controller(daemon: Daemon) -> None:
    assert scsi2nvme("reset", "0", "--state-dir", str(daemon.state_dir)).returncode == 0


def stamp(number: int, blocks: int = 1) -> bytes:
    return number.to_bytes(4, "big") * (BLOCK // 4 * blocks)


class Medium:
    """What the blocks may hold, as far as the order of the commands says so."""

    def __init__(self) -> None:
        self.settled: list[set[bytes]] = [{bytes(BLOCK)} for _ in range(BLOCKS)]
        self.open: list[set[bytes]] = [set() for _ in range(BLOCKS)]

    def settle(self) -> None:
        """All that was sent before has taken effect: of each block the one or the other."""
        for lba, late in enumerate(self.open):
            if late:
                self.settled[lba] = set(late)
                late.clear()

    def check(self, data: bytes) -> None:
        """Hold what an ORDERED read has found against that; it decides what was open."""
        for lba in range(BLOCKS):
            found = data[lba * BLOCK : (lba + 1) * BLOCK]
            assert found in self.settled[lba], f"block {lba}: {found[:4].hex()}"
            self.settled[lba] = {found}


def judge(commands: list[Sent]) -> None:
    """Walk over the commands as they were sent. A HEAD OF QUEUE write may come sooner."""
    medium = Medium()
    for command in commands:
        ordered = command.attribute == ORDERED
        if ordered:
            medium.settle()
        if command.writes:
            for number in range(len(command.data_out) // BLOCK):
                lba = command.lba + number
                if lba < BLOCKS:
                    data = command.data_out[number * BLOCK : (number + 1) * BLOCK]
                    medium.open[lba].add(data)
            if ordered:
                medium.settle()
        elif ordered:
            medium.check(command.data_in)


@pytest.mark.parametrize("solicited", [False, True])
def test_what_is_ordered_is_between_what_came_before_and_after(
    tmp_path: Path, solicited: bool
) -> None:
    """Whatever the disk and the data's way make of it: what each ORDERED read finds."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    keys = {"ImmediateData": "No"} if solicited else {}
    with serving(tmp_path, *LATE) as daemon:
        for number in range(6):
            with login(daemon, number, **keys) as initiator:
                host = Host(initiator)
                host.send(ORDERED, 0, bytes(BLOCKS * BLOCK))
                for n in range(1, 70):
                    attribute = rng.choice([SIMPLE, SIMPLE, ORDERED])
                    if rng.random() < 0.35:
                        host.send(attribute)
                    elif rng.random() < 0.1:
                        host.send(attribute, 0, stamp(n, 64))
                    else:
                        host.send(attribute, rng.randrange(BLOCKS), stamp(n))
                    if rng.random() < 0.1:
                        host.send(HEAD_OF_QUEUE)
                host.send(ORDERED)
                host.serve(rng)
            assert {each.status for each in host.sent.values()} == {GOOD}
            judge(list(host.sent.values()))


def test_a_host_that_orders_costs_no_other(tmp_path: Path) -> None:
    """A command of its own hangs in the disk, and all that it has sent waits for that."""
    with (
        serving(tmp_path, "write:hang:lba=100-100:count=1") as daemon,
        login(daemon) as one,
        login(daemon, 2) as other,
    ):
        host = Host(one)
        hangs = host.send(SIMPLE, 100, stamp(1))
        waiting = [host.send(ORDERED, n % BLOCKS, stamp(n)) for n in range(100)]
        for attribute in (SIMPLE, ORDERED, HEAD_OF_QUEUE):
            for number in range(20):
                cdb = row("WRITE (10)").build(lba=200 + number, transfer_length=1)
                written = other.command(0, cdb, data_out=stamp(7), attribute=attribute)
                assert written.status == GOOD
        assert one.command(0, bytes(6)).status == GOOD  # nor does what asks for the state wait
        for itt in waiting[:50]:
            assert one.task_management(ABORT_TASK, referenced=itt).response == 0
        one.request_task_management(ABORT_TASK, referenced=hangs)
        for itt in (hangs, *waiting[:50]):
            del host.sent[itt]
        host.serve(random.Random(1))
        assert {each.status for each in host.sent.values()} == {GOOD}


def test_only_what_the_standard_lists_passes_what_is_ordered(tmp_path: Path) -> None:
    """Spec: SPC-4 5.3 (implicit head of queue)."""
    passing = [bytes(6), *(row(name).build(allocation_length=255) for name in PASSING)]
    late = row("REPORT TARGET PORT GROUPS").build(allocation_length=255)
    with serving(tmp_path, "write:delay=300:lba=100-100") as daemon, login(daemon) as one:
        host = Host(one)
        write = host.send(ORDERED, 100, stamp(1))
        others = [one.begin(0, late, data_in=255)]
        others += [one.begin(0, cdb, data_in=255 if any(cdb) else 0) for cdb in passing]
        ended: list[int] = []
        while len(ended) <= len(others):
            pdu = one.receive()
            if pdu.opcode == SCSI_RESPONSE or (pdu.opcode == DATA_IN and pdu.bhs[1] & 1):
                ended.append(int.from_bytes(pdu.bhs[16:20], "big"))
        assert sorted(ended[:-2]) == sorted(others[1:])
        assert ended[-2:] == [write, others[0]]


@pytest.mark.parametrize("function", [ABORT_TASK_SET, CLEAR_TASK_SET])
def test_what_waits_is_aborted_with_the_rest(tmp_path: Path, function: int) -> None:
    with serving(tmp_path, "write:hang:lba=100-100:count=1") as daemon, login(daemon) as one:
        host = Host(one)
        host.send(ORDERED, 100, stamp(1))
        for number in range(100):
            host.send(ORDERED, number % BLOCKS, stamp(number + 1))
        assert one.task_management(function).response == 0
        assert read(one) == bytes(BLOCKS * BLOCK)


def test_a_first_that_wants_memory_gets_it(tmp_path: Path) -> None:
    """What comes later has data already: they keep nothing that the first waits for."""
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(tmp_path, *LATE))
        one = stack.enter_context(login(daemon))
        host = Host(one)
        large = bytes(8 << 20)
        for _ in range(3):
            host.send(ORDERED, 0, large)
            for number in range(30):
                host.send(SIMPLE, 1000 + number, stamp(number, 16))
        host.serve(random.Random(2))
        assert {each.status for each in host.sent.values()} == {GOOD}


def test_a_reset_of_the_controller_ends_nothing(tmp_path: Path) -> None:
    """Whether the reactor has them, or the engine."""
    with serving(tmp_path, "write:delay=20", "verify:delay=20") as daemon, login(daemon) as one:
        host = Host(one)
        for number in range(120):
            host.send(ORDERED, number % BLOCKS, stamp(number + 1))
        cdb = row("VERIFY (10)").build(verification_length=8)
        for _ in range(4):
            host.sent[one.begin(0, cdb, attribute=ORDERED)] = Sent(ORDERED, -1)
        reset_controller(daemon)
        host.serve(random.Random(3))
        assert {each.status for each in host.sent.values()} == {GOOD}
        assert read(one) == b"".join(stamp(112 + number + 1) for number in range(BLOCKS))
