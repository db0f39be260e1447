"""Two daemons on one disk that keeps reservations: who is fenced at one is kept off by the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scsi2nvme.commands.persistent_reserve_out import PARAMETER_LIST
from tests.daemon import IQN, Daemon, scsi2nvme
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row
from tests.waiting import until

GOOD, CHECK_CONDITION, CONFLICT = 0x00, 0x02, 0x18
WE_RO = 5
BLOCK = 512
PREEMPTED = (6, 0x2A, 0x05)


class Node:
    """A node of a cluster: its key, and its initiator at a daemon of its own."""

    def __init__(self, directory: Path, disk: Path, number: int) -> None:
        directory.mkdir()
        self.key = number
        self.name = f"iqn.2026-11.test:node{number}"
        more = f"size=4M,controller={number},rescap=on,reservations=disk"
        self.daemon = Daemon(directory, f"emulated:{disk},{more}")
        self.daemon.start()
        self.connect()

    def connect(self) -> None:
        self.initiator = self.session()

    def session(self, port: int = 1) -> Initiator:
        """Return another session of this node, with all that waits for it heard."""
        isid = b"\x80\x00\x00\x00\x00" + bytes([port])
        one = Initiator(("127.0.0.1", self.daemon.port), self.name, isid, timeout=60.0)
        one.login(IQN)
        one.hear()
        return one

    def out(
        self, action: str, key: int = 0, new: int = 0, kind: int = 0, **flags: int
    ) -> ScsiResult:
        """Run a service action of PERSISTENT RESERVE OUT."""
        data = PARAMETER_LIST.build(key=key, service_action_key=new, **flags)
        cdb = row(f"PERSISTENT RESERVE OUT, {action}").build(type=kind, parameter_list_length=24)
        return self.initiator.command(0, cdb, data_out=data)

    def ok(self, action: str, key: int = 0, new: int = 0, kind: int = 0, **flags: int) -> None:
        result = self.out(action, key, new, kind, **flags)
        assert result.status == GOOD, result.sense_triple

    def keys(self) -> list[int]:
        """Return the keys that READ KEYS tells."""
        cdb = row("PERSISTENT RESERVE IN, READ KEYS").build(allocation_length=512)
        data = self.initiator.command(0, cdb, data_in=512).data[8:]
        return [int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data), 8)]

    def write(self, lba: int = 0, data: bytes = b"w" * BLOCK) -> ScsiResult:
        cdb = row("WRITE (10)").build(lba=lba, transfer_length=len(data) // BLOCK)
        return self.initiator.command(0, cdb, data_out=data)

    def read(self, lba: int = 0, blocks: int = 1) -> ScsiResult:
        cdb = row("READ (10)").build(lba=lba, transfer_length=blocks)
        return self.initiator.command(0, cdb, data_in=blocks * BLOCK)

    def join(self) -> None:
        """Unfence this node, as fence_scsi does."""
        self.ok("REGISTER AND IGNORE EXISTING KEY", 0, self.key, aptpl=1)

    def end(self) -> None:
        self.initiator.close()
        if self.daemon.process is not None:
            assert self.daemon.stop() == 0

    def crash(self) -> None:
        self.initiator.close()
        self.daemon.stop(signal.SIGKILL)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    disk = tmp_path / "disk"
    with ExitStack() as stack:
        both = []
        for number in (1, 2):
            node = Node(tmp_path / f"node{number}", disk, number)
            stack.callback(node.end)
            both.append(node)
        yield both[0], both[1]


def test_the_fenced_node_is_kept_off_by_the_disk(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for node in nodes:
        node.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    assert one.keys() == two.keys() == [1, 2]
    assert one.write(0, b"1" * BLOCK).status == GOOD
    assert two.read().data == b"1" * BLOCK
    assert two.write(1, b"2" * BLOCK).status == GOOD
    one.ok("PREEMPT AND ABORT", one.key, two.key, WE_RO)
    fenced = two.write()
    assert (fenced.status, fenced.sense_triple) == (CHECK_CONDITION, PREEMPTED)
    assert two.write().status == CONFLICT
    assert two.read().data == b"1" * BLOCK
    assert two.write(0, b"").status == CONFLICT  # of which the disk would not be told
    assert two.read(0, 0).status == GOOD
    assert two.out("RESERVE", two.key, kind=WE_RO).status == CONFLICT
    assert one.keys() == two.keys() == [1]
    assert one.write().status == GOOD
    two.join()  # it was mended
    assert two.write().status == GOOD


def test_nothing_of_a_fenced_node_is_written_once_that_is_acknowledged(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes
    for node in nodes:
        node.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    stop = threading.Event()
    written = [0]

    def load() -> None:
        with two.session(2) as session:
            data = b"2" * BLOCK * 8
            cdb = row("WRITE (10)").build(lba=8, transfer_length=8)
            register = row("PERSISTENT RESERVE OUT, REGISTER").build(parameter_list_length=24)
            keys = PARAMETER_LIST.build(service_action_key=two.key)
            assert session.command(0, register, data_out=keys).status == GOOD
            while not stop.is_set():
                if session.command(0, cdb, data_out=data).status != GOOD:
                    return
                written[0] += 1

    thread = threading.Thread(target=load)
    thread.start()
    until(lambda: written[0] > 20, "the fenced node writes")
    one.ok("PREEMPT AND ABORT", one.key, two.key, WE_RO)
    mine = b"1" * BLOCK * 8
    assert one.write(8, mine).status == GOOD
    thread.join(30)
    stop.set()
    assert not thread.is_alive()
    assert one.read(8, 8).data == mine
    two.initiator.hear()
    assert two.read(8, 8).data == mine


def test_a_fence_outlives_the_daemon_that_is_killed(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for node in nodes:
        node.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    two.crash()
    one.ok("PREEMPT AND ABORT", one.key, two.key, WE_RO)
    two.daemon.start()
    two.connect()
    assert two.keys() == [1]
    assert two.write().status == CONFLICT
    assert one.write().status == GOOD
    one.crash()  # who holds the reservation, which outlives that as well
    assert two.write().status == CONFLICT
    one.daemon.start()
    one.connect()
    assert one.keys() == [1]
    assert one.write(0, b"1" * BLOCK).status == GOOD
    one.ok("CLEAR", one.key)
    assert two.write().status == GOOD


def test_who_is_preempted_is_told_by_the_disk(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    for node in nodes:
        node.join()
    one.ok("PREEMPT", one.key, two.key, WE_RO)
    assert two.daemon.logs("another host has changed reservations")

    def told() -> bool:
        result = two.initiator.command(0, bytes(6))
        return result.status == CHECK_CONDITION and result.sense_triple == PREEMPTED

    until(told, "the node is told")


def test_a_second_key_at_one_daemon_is_refused(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.join()
    register = row("PERSISTENT RESERVE OUT, REGISTER").build(parameter_list_length=24)
    with one.session(2) as other:
        keys = PARAMETER_LIST.build(service_action_key=7)
        refused = other.command(0, register, data_out=keys)
        assert refused.sense_triple == (5, 0x55, 0x04)


def test_what_a_person_registers_is_no_registration_of_initiators(nodes: tuple[Node, Node]) -> None:
    """The disk takes their writes from then on: so it is for the daemon to stop them at once."""
    one, two = nodes
    one.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    assert one.write(0, b"1" * BLOCK).status == GOOD
    assert two.write().status == CONFLICT
    socket = ("--state-dir", str(two.daemon.state_dir))
    done = scsi2nvme("resv-register", *socket, "0", "-k", "9", "--force")
    assert done.returncode == 0, done.stderr
    assert two.write().status == CONFLICT
    assert one.read().data == b"1" * BLOCK
    done = scsi2nvme("resv-register", *socket, "0", "-c", "9", "-r", "1", "--force")
    assert done.returncode == 0, done.stderr
    assert two.write().status == CONFLICT


def test_initiators_are_told_what_a_person_has_done_to_their_reservation(
    nodes: tuple[Node, Node],
) -> None:
    one, _ = nodes
    one.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    socket = ("--state-dir", str(one.daemon.state_dir))
    done = scsi2nvme("resv-release", *socket, "0", "-c", "1", "-a", "1", "--force")
    assert done.returncode == 0, done.stderr
    result = one.initiator.command(0, bytes(6))
    assert (result.status, result.sense_triple) == (CHECK_CONDITION, (6, 0x2A, 0x03))
    assert not one.keys()


def test_a_disk_without_reservations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it keeps no reservations; leave reservations=disk"):
        Daemon(tmp_path, "emulated:memory,size=4M,reservations=disk").start()


def test_a_reset_of_the_controller_leaves_all_as_it_was(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.join()
    one.ok("RESERVE", one.key, kind=WE_RO)
    socket = ("--state-dir", str(one.daemon.state_dir))
    done = scsi2nvme("reset", *socket, "0")
    assert done.returncode == 0, done.stderr
    one.initiator.hear()
    assert one.write().status == GOOD
    assert two.write().status == CONFLICT
