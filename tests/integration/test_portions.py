"""READ and WRITE of more than is held in memory at once, as firmware sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import DATA_IN, R2T, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, Pdu, ScsiResult
from tests.support import row

BLOCK = 512
MIB = 1 << 20
BOOT_FILE = 19_200  # blocks, in one command
PORTION = MIB // BLOCK
GOOD, RESERVATION_CONFLICT = 0, 0x18
ORDERED = 2
ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
TASK_ABORTED = 0x40
BAD = 5000  # a bad block, in the third portion


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serve(tmp_path_factory.mktemp("portions")) as daemon:
        yield daemon


def serve(directory: Path, *faults: str) -> Daemon:
    words = [spec("emulated", directory, block=BLOCK), *(f"fault={fault}" for fault in faults)]
    return Daemon(directory, ",".join(words))


def login(daemon: Daemon, number: int = 1, keys: Mapping[str, str] | None = None) -> Initiator:
    """Return an initiator that has taken its unit attention."""
    one = Initiator(("127.0.0.1", daemon.port), isid=bytes([0x80, 0, 0, 0, 0, number]), timeout=20)
    one.login(IQN, keys)
    one.hear()
    return one


def reserve(one: Initiator, action: str, key: int = 0, new: int = 0) -> None:
    """Run a service action of PERSISTENT RESERVE OUT, for Write Exclusive."""
    data = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(8)
    cdb = row(f"PERSISTENT RESERVE OUT, {action}").build(type=1, parameter_list_length=24)
    assert one.command(0, cdb, data_out=data).status == GOOD


@pytest.fixture
def one(daemon: Daemon) -> Iterator[Initiator]:
    with login(daemon) as one:
        yield one


def content(blocks: int, seed: int = 0) -> bytes:
    """Return data of which no two blocks are equal."""
    return b"".join((seed << 32 | lba).to_bytes(8, "big") * (BLOCK // 8) for lba in range(blocks))


def read(one: Initiator, blocks: int, name: str = "READ (10)", lba: int = 0) -> ScsiResult:
    cdb = row(name).build(lba=lba, transfer_length=blocks)
    return one.command(0, cdb, data_in=blocks * BLOCK)


def write(one: Initiator, data: bytes, name: str = "WRITE (10)") -> ScsiResult:
    cdb = row(name).build(transfer_length=len(data) // BLOCK)
    return one.command(0, cdb, data_out=data)


@pytest.mark.parametrize(
    ("length", "blocks"), [(10, BOOT_FILE), (10, 0xFFFF), (12, BOOT_FILE), (16, 70_000)]
)
def test_what_a_cdb_can_say_is_moved(one: Initiator, length: int, blocks: int) -> None:
    data = content(blocks, length)
    assert write(one, data, f"WRITE ({length})").status == GOOD
    result = read(one, blocks, f"READ ({length})")
    assert result.status == GOOD
    assert result.underflow == result.overflow == 0
    assert result.data == data


def test_so_it_is_where_every_command_is_the_engines(daemon: Daemon) -> None:
    with login(daemon, 1) as one, login(daemon, 2) as other:
        one.command(0, row("RESERVE (6)").build())
        data = content(BOOT_FILE, 77)
        assert write(one, data).status == GOOD
        assert read(one, BOOT_FILE).data == data
        assert read(other, BOOT_FILE).status == RESERVATION_CONFLICT
        one.command(0, row("RELEASE (6)").build())


def test_small_bursts_and_digests(daemon: Daemon) -> None:
    keys = {"MaxBurstLength": "300000", "FirstBurstLength": "70000", "MaxOutstandingR2T": "3"}
    keys |= {"InitialR2T": "No", "HeaderDigest": "CRC32C"}
    with login(daemon, keys=keys) as one:
        data = content(BOOT_FILE, 3)
        assert write(one, data).status == GOOD
    with login(daemon) as one:
        assert read(one, BOOT_FILE).data == data


def test_out_of_range_is_told_before_anything_moves(one: Initiator) -> None:
    last = 64 * MIB // BLOCK - 1
    result = read(one, BOOT_FILE, lba=last - PORTION)
    assert (result.sense_triple, result.data) == ((5, 0x21, 0), b"")
    assert result.underflow == BOOT_FILE * BLOCK


def test_what_is_ordered_is_whole_to_its_own_nexus(one: Initiator) -> None:
    before, after = content(BOOT_FILE, 11), content(BOOT_FILE, 12)
    assert write(one, before).status == GOOD
    cdb = row("READ (10)").build(transfer_length=BOOT_FILE)
    itt = one.begin(0, cdb, data_in=BOOT_FILE * BLOCK, attribute=ORDERED)
    written = row("WRITE (10)").build(lba=BOOT_FILE - 1, transfer_length=1)
    later = one.begin(0, written, data_out=after[-BLOCK:])
    assert one.finish(itt).data == before
    assert one.finish(later, data_out=after[-BLOCK:]).status == GOOD
    cdb = row("WRITE (10)").build(transfer_length=BOOT_FILE)
    assert one.command(0, cdb, data_out=after, attribute=ORDERED).status == GOOD
    assert read(one, BOOT_FILE).data == after


@pytest.mark.parametrize("expected", [0, 200, 3 * MIB + 100 * BLOCK])
def test_a_read_of_which_less_is_wanted(one: Initiator, expected: int) -> None:
    data = content(BOOT_FILE, 4)
    assert write(one, data).status == GOOD
    result = one.command(0, row("READ (10)").build(transfer_length=BOOT_FILE), data_in=expected)
    assert (result.status, result.data) == (GOOD, data[:expected])
    assert result.overflow == BOOT_FILE * BLOCK - expected


@pytest.mark.parametrize("blocks", [100, 3 * PORTION, 3 * PORTION + 7])
def test_a_write_of_which_less_comes(one: Initiator, blocks: int) -> None:
    before, after = content(BOOT_FILE, 5), content(BOOT_FILE, 6)[: blocks * BLOCK]
    assert write(one, before).status == GOOD
    result = one.command(0, row("WRITE (10)").build(transfer_length=BOOT_FILE), data_out=after)
    assert (result.status, result.overflow) == (GOOD, (BOOT_FILE - blocks) * BLOCK)
    assert read(one, BOOT_FILE).data == after + before[len(after) :]


def test_a_write_that_ends_within_a_block_stores_nothing(one: Initiator) -> None:
    before = content(BOOT_FILE, 7)
    assert write(one, before).status == GOOD
    cdb = row("WRITE (10)").build(transfer_length=BOOT_FILE)
    result = one.command(0, cdb, data_out=bytes(3 * MIB + 200))
    assert result.sense_triple == (5, 0x0E, 3)
    assert read(one, BOOT_FILE).data == before


def information(result: ScsiResult) -> int | None:
    assert result.sense_triple[0] == 3
    return int.from_bytes(result.sense[3:7], "big") if result.sense[0] & 0x80 else None


def test_a_bad_block_is_told_and_all_before_the_portion_moved(tmp_path: Path) -> None:
    with serve(tmp_path, f"read:status=2/81:lba={BAD}-{BAD}") as daemon, login(daemon) as one:
        data = content(BOOT_FILE)
        assert write(one, data).status == GOOD
        result = read(one, BOOT_FILE)
        moved = BAD // PORTION * MIB
        assert information(result) == BAD
        assert result.data == data[:moved]
        assert result.underflow == BOOT_FILE * BLOCK - moved


def test_a_block_that_cannot_be_written_ends_the_write(tmp_path: Path) -> None:
    with serve(tmp_path, f"write:status=2/80:lba={BAD}-{BAD}") as daemon, login(daemon) as one:
        data = content(BOOT_FILE)
        result = write(one, data)
        assert information(result) is None  # a piece may be half written
        taken = (BAD // PORTION + 1) * MIB
        assert result.underflow == len(data) - taken  # the rest was not asked for
        whole = BAD // PORTION * PORTION
        after = read(one, BOOT_FILE).data
        assert after[: whole * BLOCK] == data[: whole * BLOCK]
        assert not any(after[taken:])


def start(one: Initiator, name: str, blocks: int = 0xFFFF) -> int:
    """Send a command and take nothing of its answer; return its tag."""
    itt, reads = one.next_itt(), name.startswith("READ")
    cdb = row(name).build(transfer_length=blocks)
    bhs = one.command_bhs(0, cdb, itt=itt, edtl=blocks * BLOCK, read=reads, write=not reads)
    one.send(bhs)
    return itt


def until_other(one: Initiator, opcode: int) -> Pdu:
    """Take PDUs with this opcode, and return the one that has another."""
    while (pdu := one.receive()).opcode == opcode:
        pass
    return pdu


def test_a_read_that_nobody_takes_ends_with_a_reset(daemon: Daemon) -> None:
    with login(daemon, 1) as one, login(daemon, 2) as other:
        begun = start(one, "READ (10)")
        one.receive()
        assert other.task_management(LOGICAL_UNIT_RESET).response == 0
        other.hear()
        assert read(other, 8).status == GOOD
        pdu = until_other(one, DATA_IN)
        assert (pdu.opcode, pdu.itt, pdu.scsi_status) == (SCSI_RESPONSE, begun, TASK_ABORTED)
        one.hear()
        assert read(one, BOOT_FILE).status == GOOD


def test_an_aborted_read_is_over(daemon: Daemon) -> None:
    with login(daemon) as one:
        itt = start(one, "READ (10)")
        one.receive()
        one.request_task_management(ABORT_TASK, referenced=itt)
        pdu = until_other(one, DATA_IN)
        assert (pdu.opcode, pdu.response) == (TASK_MANAGEMENT_RESPONSE, 0)
        assert read(one, BOOT_FILE).status == GOOD


def test_who_is_fenced_in_the_middle_writes_no_more(daemon: Daemon) -> None:
    with login(daemon, 1) as one, login(daemon, 2) as other:
        before, after = content(BOOT_FILE, 8), content(BOOT_FILE, 9)
        assert write(one, before).status == GOOD
        itt = start(one, "WRITE (10)", BOOT_FILE)
        asked = 0
        while asked < 2 * MIB:
            r2t = one.receive()
            assert r2t.opcode == R2T
            if (asked := r2t.word32(40)) < 2 * MIB:
                one._answer_r2t(r2t, 0, after)
        reserve(other, "REGISTER", new=7)
        reserve(other, "RESERVE", 7)
        one._answer_r2t(r2t, 0, after)
        result = one.finish(itt, 0, after)
        assert result.status == RESERVATION_CONFLICT
        assert result.underflow == BOOT_FILE * BLOCK - 3 * MIB
        reserve(other, "CLEAR", 7)
        one.hear()
        assert read(one, BOOT_FILE).data == after[: 2 * MIB] + before[2 * MIB :]


def test_the_pool_is_not_a_commands(daemon: Daemon) -> None:
    idle = [login(daemon, 10 + number) for number in range(12)]
    try:
        for one in idle:
            start(one, "READ (10)")
            start(one, "WRITE (10)")
        with login(daemon, 1) as busy:
            assert read(busy, 8).status == GOOD
            assert busy.ping().opcode == 0x20
    finally:
        for one in idle:
            one.close()
