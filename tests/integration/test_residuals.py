"""How much a command moved, against what the initiator expects. Spec: RFC 7143 11.4.5."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row

BLOCK = 512
GOOD, CHECK_CONDITION = 0, 2
LARGE = 200_000  # beyond 64 KiB

READS = {
    "INQUIRY": row("INQUIRY").build(allocation_length=0xFFFF),
    "REPORT LUNS": row("REPORT LUNS").build(allocation_length=0xFFFF),
    "READ CAPACITY (10)": row("READ CAPACITY (10)").build(),
    "READ CAPACITY (16)": row("READ CAPACITY (16)").build(allocation_length=32),
    "MODE SENSE (6)": row("MODE SENSE (6)").build(page_code=0x3F, allocation_length=255),
    "LOG SENSE": row("LOG SENSE").build(page_code=0x0D, pc=1, allocation_length=0xFFFF),
    "READ (10), one block": row("READ (10)").build(transfer_length=1),
    "READ (16), 300 blocks": row("READ (16)").build(transfer_length=300),
    "READ (10), cold": row("READ (10)").build(transfer_length=300, fua_nv=1, dpo=1),
}
WRITES = {
    "WRITE (10)": (row("WRITE (10)").build(transfer_length=2), 2 * BLOCK),
    "WRITE (16), 300 blocks": (row("WRITE (16)").build(transfer_length=300), 300 * BLOCK),
    "WRITE AND VERIFY (10)": (row("WRITE AND VERIFY (10)").build(transfer_length=2), 2 * BLOCK),
    "VERIFY (10)": (row("VERIFY (10)").build(verification_length=2, bytchk=1), 2 * BLOCK),
    "WRITE SAME (16)": (row("WRITE SAME (16)").build(number_of_blocks=9), BLOCK),
    "COMPARE AND WRITE": (row("COMPARE AND WRITE").build(number_of_blocks=1), 2 * BLOCK),
    "UNMAP": (row("UNMAP").build(parameter_list_length=24), 24),
    "MODE SELECT (10)": (row("MODE SELECT (10)").build(pf=1, parameter_list_length=8), 8),
}
NEITHER = {
    "TEST UNIT READY": bytes(6),
    "SYNCHRONIZE CACHE (10)": row("SYNCHRONIZE CACHE (10)").build(),
    "VERIFY (10)": row("VERIFY (10)").build(verification_length=2),
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Initiator]:
    """A session with an empty disk, which has taken its unit attention."""
    directory = tmp_path_factory.mktemp("residuals")
    with (
        Daemon(directory, spec("emulated", directory, block=BLOCK)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as initiator,
    ):
        initiator.login(IQN, {"MaxRecvDataSegmentLength": "1001"})
        initiator.command(0, bytes(6))
        yield initiator


def command(one: Initiator, cdb: bytes, flags: str, edtl: int) -> ScsiResult:
    """Send a command with R, W or neither set, and zeroes as its data."""
    itt, read, write = one.next_itt(), "R" in flags, "W" in flags
    one.send(one.command_bhs(0, cdb, itt=itt, edtl=edtl, read=read, write=write))
    return one.finish(itt, 0, bytes(edtl))


def residual(result: ScsiResult) -> int:
    """Return what is missing of what was expected, negative: what there was beyond."""
    assert not (result.overflow and result.underflow)
    return result.underflow - result.overflow


@pytest.mark.parametrize("name", READS)
def test_of_data_in(one: Initiator, name: str) -> None:
    cdb = READS[name]
    whole = command(one, cdb, "R", LARGE)
    size = len(whole.data)
    assert whole.status == GOOD
    assert size
    for edtl in (0, 1, size - 1, size, size + 1, LARGE):
        result = command(one, cdb, "R", edtl)
        assert (result.status, residual(result)) == (GOOD, edtl - size)
        assert result.data == whole.data[:edtl]
    for edtl in (1, size, LARGE):  # expected is something else, of which nothing moves
        result = command(one, cdb, "W", edtl)
        assert (result.status, residual(result), result.data) == (GOOD, edtl, b"")
    for flags in ("", "W"):
        result = command(one, cdb, flags, 0)
        assert (result.status, residual(result), result.data) == (GOOD, -size, b"")


@pytest.mark.parametrize("name", WRITES)
def test_of_data_out(one: Initiator, name: str) -> None:
    cdb, size = WRITES[name]
    assert residual(command(one, cdb, "W", size)) == 0
    for edtl in (0, 1, size - 1, size + 1, LARGE):
        assert residual(command(one, cdb, "W", edtl)) == edtl - size
    for edtl in (1, size, LARGE):  # nothing is written of what was to be read
        result = command(one, cdb, "R", edtl)
        assert (result.status, result.sense_triple) == (CHECK_CONDITION, (5, 0x0E, 0x03))
        assert residual(result) == (edtl if edtl >= size else edtl - size)
    for flags in ("", "R"):
        assert residual(command(one, cdb, flags, 0)) == -size


@pytest.mark.parametrize("name", NEITHER)
def test_without_data(one: Initiator, name: str) -> None:
    for flags, edtl in (("R", 512), ("R", LARGE), ("W", 512), ("W", LARGE), ("", 0)):
        result = command(one, NEITHER[name], flags, edtl)
        assert (result.status, residual(result), result.data) == (GOOD, edtl, b"")


def test_of_what_is_not_carried_out(one: Initiator) -> None:
    write, read = row("WRITE (16)"), row("READ (16)")
    for cdb, flags in ((write, "W"), (read, "R")):
        beyond = cdb.build(lba=1 << 40, transfer_length=1)
        for edtl in (BLOCK, LARGE):
            result = command(one, beyond, flags, edtl)
            assert result.sense_triple == (5, 0x21, 0x00)
            assert residual(result) == edtl - (BLOCK if flags == "W" else 0)


def test_data_in_segments_are_whole_words(one: Initiator) -> None:
    itt = one.next_itt()
    one.send(one.command_bhs(0, READS["READ (16), 300 blocks"], itt=itt, edtl=LARGE, read=True))
    lengths = []
    while True:
        pdu = one.receive()
        if not pdu.flags & 0x80:
            lengths.append(len(pdu.data))
        if pdu.flags & 1:
            break
    assert lengths
    assert set(lengths) == {1000}
