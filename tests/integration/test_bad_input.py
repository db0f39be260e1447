"""Malformed and hostile input to a running daemon: each piece gets the right answer, and no
more comes of it: the daemon stays up, another session goes on, no memory is lost.
"""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import load
from scsi2nvme.commands import COMMANDS
from tests.daemon import IQN, Daemon
from tests.integration.disks import KINDS, spec
from tests.iscsi_client import DisconnectedError, Initiator, LoginError
from tests.iscsi_pdu import FINAL, IMMEDIATE, NOP_IN, REJECT, RESERVED_TAG, Pdu, pairs_bytes

BAD, BYSTANDER = "iqn.2026-11.test:bad", "iqn.2026-11.test:bystander"
# What bad input does to a disk, it does to LUN 0, which the bystander does not use.
CONFIG = f"""
[[initiators]]
name = "{BAD}"
luns = [0]
[[initiators]]
name = "{BYSTANDER}"
luns = [1]
[[initiators]]
name = "{BYSTANDER}0"
luns = [1]
"""
BLOCK = 512
BLOCKS = (16 << 20) // BLOCK
ROUNDS = 1500
WITH_ACTION = {row.opcode for row in COMMANDS if row.service_action is not None}
GROWTH_BYTES = 6 << 20  # what allocators may keep, 2 MiB at a time; a leak of 4 KiB a round shows
INVALID_FIELD_IN_CDB, OUT_OF_RANGE = (5, 0x24, 0x00), (5, 0x21, 0x00)


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, but for the pages of files, which the program's are."""
    status = Path(f"/proc/{pid}/status").read_text()
    kinds = ("RssAnon:", "RssShmem:")
    return sum(int(status.partition(kind)[2].split()[0]) for kind in kinds) * 1024


@pytest.fixture(scope="module", params=KINDS)
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("bad")
    disk = spec(request.param, directory, size_mib=16, namespaces=2, block=BLOCK)
    with Daemon(directory, disk, config=CONFIG) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(autouse=True)
def bystander(daemon: Daemon) -> Iterator[Initiator]:
    """A session of another initiator, which must not notice anything."""
    data = random.Random(1).randbytes(4 * BLOCK)
    with initiator(daemon, BYSTANDER) as one:
        one.hear(1)
        assert one.command(1, rw10(0x2A, BLOCKS - 4, 4), data_out=data).status == 0
        yield one
        result = one.command(1, rw10(0x28, BLOCKS - 4, 4), data_in=len(data))
        assert (result.status, result.data) == (0, data)
        one.logout()


@pytest.fixture
def bad(daemon: Daemon) -> Iterator[Initiator]:
    """A session that is about to misbehave."""
    with initiator(daemon, BAD) as one:
        one.hear(0)
        yield one


def connection(daemon: Daemon, name: str = BAD) -> Initiator:
    return Initiator(("127.0.0.1", daemon.port), name)


def initiator(daemon: Daemon, name: str, **keys: str) -> Initiator:
    """Return an initiator that has logged in."""
    one = connection(daemon, name)
    one.login(IQN, keys)
    return one


def rw10(opcode: int, lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", opcode, 0, lba, 0, blocks, 0)


def header(
    opcode: int, one: Initiator, *, flags: int = FINAL, itt: int | None = None, ttt: int = 0
) -> bytes:
    """Return an immediate request's header that is right but for what it says."""
    tag = one.next_itt() if itt is None else itt
    numbers = (tag, ttt, one.cmd_sn, one.exp_stat_sn)
    return struct.pack(">BB14xIIII16x", opcode | IMMEDIATE, flags, *numbers)


# Login


def refused(daemon: Daemon, step: Callable[[Initiator], Pdu]) -> int:
    """Return the login status that a step is refused with; the connection ends then."""
    with connection(daemon) as one:
        with pytest.raises(LoginError) as caught:
            step(one)
        assert one.closed_by_target()
        return caught.value.status


NAMES = {"InitiatorName": BAD, "TargetName": IQN}


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (lambda one: one.login_step(NAMES, 1, 0, transit=True), 0x0200),  # backwards
        (lambda one: one.login_step(NAMES, 1, 2, transit=True), 0x0200),  # no such stage
        (lambda one: one.login_step(NAMES, 3, 3, transit=True), 0x0200),
        (lambda one: one.login_step({}, 1, 3, transit=True), 0x0207),
        (lambda one: one.login_step({"InitiatorName": BAD}, 1, 3, transit=True), 0x0207),
        (lambda one: one.login_step(NAMES | {"TargetName": "iqn.x"}, 1, 3), 0x0203),
        (lambda one: one.login_step(b"InitiatorName", 1, 3), 0x0200),
        (lambda one: one.login_step(pairs_bytes(NAMES) + b"\xff\xfe=1\0", 1, 3), 0x0200),
    ],
)
def test_logins_that_are_refused(
    daemon: Daemon, step: Callable[[Initiator], Pdu], status: int
) -> None:
    assert refused(daemon, step) == status


@pytest.mark.parametrize("junk", [bytes(48), b"\xff" * 48, b"GET / HTTP/1.1\r\n\r\n".ljust(48)])
def test_what_is_no_login_ends_the_connection(daemon: Daemon, junk: bytes) -> None:
    with connection(daemon) as one:
        one.send_raw(junk)
        assert one.closed_by_target()


def test_a_command_in_the_login_phase_ends_the_connection(daemon: Daemon) -> None:
    with connection(daemon) as one:
        one.login_step(NAMES, 0, 1)
        one.send(one.command_bhs(0, bytes(6), itt=9))
        assert one.receive().login_status == 0x020B
        assert one.closed_by_target()


@pytest.mark.parametrize("value", ["1", "16777216", "many", "-512", ""])
def test_values_out_of_range_are_rejected(daemon: Daemon, value: str) -> None:
    with connection(daemon) as one:
        one.login_step(NAMES | {"MaxBurstLength": value}, 1)
        assert one.keys["MaxBurstLength"] == "Reject"


def test_unknown_keys_are_not_understood(daemon: Daemon) -> None:
    with connection(daemon) as one:
        one.login(IQN, {"X-org.example.nonsense": "1", "NoSuchKey": "Yes"})
        assert one.keys["X-org.example.nonsense"] == one.keys["NoSuchKey"] == "NotUnderstood"
        assert one.text({"AnotherKey": "2"}) == [("AnotherKey", "NotUnderstood")]


def test_half_open_connections_keep_nobody_out(daemon: Daemon) -> None:
    silent = [connection(daemon) for _ in range(12)]
    for number, one in enumerate(silent):
        data = pairs_bytes(NAMES)
        one.send_raw(one.wire(one.login_bhs(1, 3, transit=True), data)[: 5 * number])
    with initiator(daemon, BAD) as other:
        other.hear(0)
    for one in silent:
        one.reset()


# PDUs


def answer(one: Initiator, bhs: bytes, data: bytes = b"") -> int:
    """Send a PDU that is rejected and return the reason; the connection goes on."""
    one.send(bhs, data)
    pdu = one.receive()
    assert pdu.opcode == REJECT
    assert pdu.itt == RESERVED_TAG
    assert pdu.data[:4] == bhs[:4]
    assert one.ping(b"still there").opcode == NOP_IN
    return pdu.response


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda one: header(0x0F, one), 0x05),
        (lambda one: header(0x1C, one), 0x05),
        (lambda one: header(0x25, one), 0x05),  # what only targets send
        (lambda one: header(0x10, one), 0x04),  # SNACK at error recovery level 0
        (lambda one: header(0x03, one), 0x04),  # login after login
        (lambda one: header(0x01, one, flags=FINAL | 0x07), 0x09),  # task attribute 7
        (lambda one: header(0x01, one, flags=FINAL | 0x60, ttt=512), 0x09),  # both directions
        (lambda one: header(0x01, one, flags=FINAL, ttt=512), 0x09),  # data without direction
        (lambda one: header(0x01, one, flags=0), 0x09),  # more to come of a read
        (lambda one: header(0x01, one, itt=RESERVED_TAG), 0x09),
    ],
)
def test_pdus_that_are_rejected(
    bad: Initiator, make: Callable[[Initiator], bytes], reason: int
) -> None:
    assert answer(bad, make(bad)) == reason


def test_too_long_a_data_segment_ends_the_connection(bad: Initiator) -> None:
    bhs = bytearray(header(0x00, bad))
    bhs[5:8] = (int(bad.keys["MaxRecvDataSegmentLength"]) + 1).to_bytes(3, "big")
    bad.send_raw(bytes(bhs))
    assert (pdu := bad.receive()).opcode == REJECT
    assert pdu.response == 0x04
    assert bad.closed_by_target()


def test_malformed_commands_end_the_connection_at_last(bad: Initiator) -> None:
    """Each is rejected, until they come faster than an honest initiator's could."""
    bidirectional = struct.pack(">HBxI", 5, 2, BLOCK)
    for _ in range(64):
        bad.send(bad.command_bhs(0, bytes(6), itt=bad.next_itt()), ahs=bidirectional)
        assert ((pdu := bad.receive()).opcode, pdu.response) == (REJECT, 0x09)
    bad.send(bad.command_bhs(0, bytes(6), itt=bad.next_itt()), ahs=bidirectional)
    assert bad.closed_by_target()


def test_a_wrong_header_digest_ends_the_connection(daemon: Daemon) -> None:
    with initiator(daemon, BAD, HeaderDigest="CRC32C") as one:
        wire = bytearray(one.wire(header(0x00, one)))
        wire[20] ^= 1
        one.send_raw(bytes(wire))
        assert one.closed_by_target()


def test_a_wrong_data_digest_fails_what_it_covers(daemon: Daemon) -> None:
    with initiator(daemon, BAD, DataDigest="CRC32C") as one:
        one.hear(0)
        itt = one.next_itt()
        bhs = one.command_bhs(0, rw10(0x2A, 0, 1), itt=itt, edtl=BLOCK, write=True)
        wire = bytearray(one.wire(bhs, bytes(BLOCK)))
        wire[48 + 100] ^= 1
        one.send_raw(bytes(wire))
        pdu = one.receive()
        assert (pdu.opcode, pdu.response) == (REJECT, 0x02)
        result = one.finish(itt)
        assert (result.status, result.sense_triple) == (2, (0xB, 0x47, 0x05))
        assert one.command(0, rw10(0x28, 0, 1), data_in=BLOCK).status == 0


def test_data_nobody_asked_for(bad: Initiator) -> None:
    """Data of no command is dropped; of a command, it fails the command."""
    bad.send(bad.data_out_bhs(0, 0x7777, RESERVED_TAG, 0, 0, final=True), bytes(BLOCK))
    itt = bad.next_itt()
    bad.send(bad.command_bhs(0, rw10(0x2A, 0, 4), itt=itt, edtl=4 * BLOCK, write=True))
    r2t = bad.receive()
    bad.send(bad.data_out_bhs(0, itt, r2t.ttt, 0, 64 * BLOCK, final=True), bytes(4 * BLOCK))
    result = bad.finish(itt)
    assert (result.status, result.sense_triple[0]) == (2, 0xB)
    assert bad.ping().opcode == NOP_IN


def test_numbers_outside_the_window_are_ignored(bad: Initiator) -> None:
    for distance in (-1, 1 << 20, 1 << 31):
        number = (bad.cmd_sn + distance) & 0xFFFFFFFF
        bad.send(bad.command_bhs(0, bytes(6), itt=0x9999, cmd_sn=number))
    assert bad.command(0, bytes(6)).status == 0


def test_a_tag_in_use_is_rejected(bad: Initiator) -> None:
    itt = bad.next_itt()
    write = rw10(0x2A, 0, 1)
    bad.send(bad.command_bhs(0, write, itt=itt, edtl=BLOCK, write=True))
    r2t = bad.receive()
    bad.send(bad.command_bhs(0, write, itt=itt, edtl=BLOCK, write=True))
    assert ((pdu := bad.receive()).opcode, pdu.response) == (REJECT, 0x07)
    bad.send(bad.data_out_bhs(0, itt, r2t.ttt, 0, 0, final=True), bytes(BLOCK))
    assert bad.finish(itt).status == 0


# CDBs


def supported(one: Initiator) -> list[bytes]:
    """Return the usage map of every command that the disk says it supports."""
    listed = one.command(
        0, struct.pack(">BBBBHIBB", 0xA3, 0x0C, 0, 0, 0, 65536, 0, 0), data_in=65536
    )
    assert listed.status == 0
    usages = []
    for at in range(4, 4 + int.from_bytes(listed.data[:4], "big"), 8):
        opcode, action, flags = struct.unpack_from(">BxHxB", listed.data, at)
        option = 2 if flags & 1 else 1
        cdb = struct.pack(">BBBBHIBB", 0xA3, 0x0C, option, opcode, action, 512, 0, 0)
        told = one.command(0, cdb, data_in=512)
        assert told.status == 0
        usages.append(told.data[4 : 4 + int.from_bytes(told.data[2:4], "big")])
    return usages


# What is no part of a usage map since it is ignored, by operation code: bytes and their bits. A
# reserved bit is neither. Spec: SPC-4 and SBC-3 of each command; SCSI-2 7.2.2 (the LUN).
LUN_OF_OLD, FUA_NV, SYNC_NV, IMMED, GROUP = 0xE0, 0x02, 0x04, 0x02, 0x3F
IGNORED = (
    ((0x00, 0x03, 0x12, 0xA0), 1, LUN_OF_OLD),
    ((0x28, 0x2A, 0xA8, 0xAA, 0x88, 0x89, 0x8A, 0x8B), 1, FUA_NV),
    ((0x34, 0x90), 1, IMMED),
    ((0x35, 0x91), 1, SYNC_NV),
    ((0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x41, 0x42), 6, GROUP),
    ((0xA8, 0xAA, 0xAE, 0xAF), 10, GROUP),
    ((0x88, 0x89, 0x8A, 0x8B, 0x8E, 0x8F, 0x90, 0x91, 0x93, 0x9C), 14, GROUP),
    ((0x04,), 1, 0x08),  # CMPLST
    ((0x1D,), 1, 0x13),  # PF, DEVOFFL, UNITOFFL
    *(((0xB7,), byte, 0xFF) for byte in range(2, 6)),  # ADDRESS DESCRIPTOR INDEX
)
# Likewise of some service actions or modes: bytes and their bits.
ALL_OF_2_TO_5 = dict.fromkeys(range(2, 6), 0xFF)
IGNORED_OF_ACTION = {
    **{(0x5F, action): {2: 0xFF} for action in (0x00, 0x03, 0x06, 0x07)},  # SCOPE, TYPE
    # BUFFER ID, BUFFER OFFSET and MODE SPECIFIC of an echo buffer and of descriptors
    (0x3B, 0x0A): {1: 0xE0, **ALL_OF_2_TO_5},
    (0x3C, 0x03): dict.fromkeys(range(3, 6), 0xFF),
    **{(0x3C, mode): ALL_OF_2_TO_5 for mode in (0x0A, 0x0B)},
    **{(0x83, action): {14: GROUP} for action in (0x10, 0x11)},
    (0x84, 0x03): {2: 0xFF},  # where its neighbours have a list identifier
    (0x9F, 0x12): {14: GROUP},
    (0x9B, 0x03): dict.fromkeys(range(2, 10), 0xFF),
    **{(0x9B, mode): dict.fromkeys([*range(2, 10), 14], 0xFF) for mode in (0x0A, 0x0B)},
}


def reserved(usage: bytes, byte: int) -> int:
    """Return the reserved bits of a byte of a CDB."""
    ignored = sum(bits for opcodes, at, bits in IGNORED if usage[0] in opcodes and at == byte)
    ignored |= IGNORED_OF_ACTION.get((usage[0], usage[1] & 0x1F), {}).get(byte, 0)
    return ~(usage[byte] | ignored) & 0xFF


def test_every_reserved_bit_is_refused_where_it_stands(bad: Initiator) -> None:
    usages = supported(bad)
    assert len(usages) > 50
    for usage in usages:
        with_action = usage[0] in WITH_ACTION
        plain = bytearray([usage[0], usage[1] & 0x1F if with_action else 0, *usage[2:]])
        plain[2:] = bytes(len(plain) - 2)
        for byte in range(1, len(usage)):
            for bit in (bit for bit in range(8) if reserved(usage, byte) >> bit & 1):
                if with_action and byte == 1 and bit < 5:
                    continue
                cdb = bytearray(plain)
                cdb[byte] |= 1 << bit
                result = bad.command(0, bytes(cdb))
                assert result.status == 2, cdb.hex()
                assert result.sense_triple == INVALID_FIELD_IN_CDB, cdb.hex()
                pointer = (0xC8 | bit, byte >> 8, byte & 0xFF)
                assert tuple(result.sense[15:18]) == pointer, cdb.hex()


def test_unknown_commands_and_luns(bad: Initiator) -> None:
    known = {usage[0] for usage in supported(bad)}
    for opcode in range(256):
        if opcode not in known and opcode != 0x7F:
            result = bad.command(0, bytes([opcode]).ljust(16, b"\0"))
            assert result.sense_triple == (5, 0x20, 0x00), hex(opcode)
    for lun in (1, 2, 255, 300):
        assert bad.command(lun, bytes(6)).sense_triple == (5, 0x25, 0x00)


def lba_commands(lba: int, blocks: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield CDBs that name a range, with the data-out and data-in that they announce."""
    data = blocks * BLOCK
    if lba < 1 << 32:
        for opcode, out, into in ((0x28, 0, data), (0x2A, data, 0), (0x2F, 0, 0), (0x2E, data, 0)):
            yield rw10(opcode, lba, blocks), out, into
        yield rw10(0x41, lba, blocks), BLOCK, 0
        for opcode, out, into in ((0xA8, 0, data), (0xAA, data, 0), (0xAF, 0, 0)):
            yield struct.pack(">BBIIBB", opcode, 0, lba, blocks, 0, 0), out, into
    both = ((0x88, 0, data), (0x8A, data, 0), (0x8F, 0, 0), (0x8E, data, 0), (0x8B, data, 0))
    for opcode, out, into in (*both, (0x93, BLOCK, 0)):
        yield struct.pack(">BBQIBB", opcode, 0, lba, blocks, 0, 0), out, into
    yield struct.pack(">BBQ3xBBB", 0x89, 0, lba, blocks, 0, 0), 2 * data, 0


@pytest.mark.parametrize(
    ("lba", "blocks"),
    [
        (BLOCKS, 1),
        (BLOCKS - 1, 2),
        (BLOCKS - 7, 8),
        ((1 << 32) - 1, 1),
        (1 << 63, 1),
        ((1 << 64) - 1, 2),
    ],
)
def test_blocks_beyond_the_end(bad: Initiator, lba: int, blocks: int) -> None:
    for cdb, out, into in lba_commands(lba, blocks):
        result = bad.command(0, cdb, data_out=bytes(out), data_in=into)
        assert result.status == 2, cdb.hex()
        assert result.sense_triple == OUT_OF_RANGE, cdb.hex()


# All at once


def mutated(chance: random.Random, one: Initiator) -> bytes:
    """Return a few PDUs with some bytes changed, cut or added."""
    cdb = chance.choice([bytes(6), rw10(0x28, 1, 2), rw10(0x2A, 1, 2), chance.randbytes(16)])
    pdus = [
        one.wire(one.command_bhs(0, cdb, itt=one.next_itt(), edtl=1024, read=True)),
        one.wire(one.command_bhs(0, cdb, itt=one.next_itt(), edtl=1024, write=True), bytes(1024)),
        one.wire(header(0x00, one, ttt=RESERVED_TAG), chance.randbytes(chance.randrange(64))),
        one.wire(header(0x04, one, ttt=RESERVED_TAG), pairs_bytes({"SendTargets": "All"})),
        one.wire(one.data_out_bhs(0, one.next_itt(), RESERVED_TAG, 0, 0, final=True), bytes(512)),
    ]
    wire = bytearray().join(chance.choices(pdus, k=chance.randrange(1, 4)))
    for _ in range(chance.randrange(5)):
        wire[chance.randrange(len(wire))] = chance.randrange(256)
    return bytes(wire[: chance.choice([len(wire), chance.randrange(len(wire)) + 1])])


def resets_a_target(wire: bytes) -> bool:
    """Whether it may hold a reset of the whole target, which everybody notices."""
    return any(
        byte & 0x3F == 0x02 and at + 1 < len(wire) and wire[at + 1] & 0x7F in (6, 7)
        for at, byte in enumerate(wire)
    )


def misbehave(chance: random.Random, daemon: Daemon) -> None:
    """Do one bad thing, on a connection of its own."""
    with contextlib.suppress(DisconnectedError, OSError, LoginError), connection(daemon) as one:
        kind = chance.randrange(4)
        if kind == 0:
            data = bytearray(one.wire(one.login_bhs(1, 3, transit=True), pairs_bytes(NAMES)))
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            one.send_raw(bytes(data[: chance.randrange(len(data)) + 1]))
        else:
            one.login(IQN)
            wire = mutated(chance, one)
            if not resets_a_target(wire):
                one.send_raw(wire)
            if kind == 1:
                one.sock.settimeout(0.02)  # it may wait for more of what was cut off
                one.ping()
        if chance.randrange(2):
            one.reset()


def test_thousands_of_bad_rounds_leave_no_trace(daemon: Daemon) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    words = ["--verify", "--operation", "mixed", "--depth", "1", "--flush-every", "50"]
    words += ["--url", daemon.url(1), "--initiator", BYSTANDER, "--seconds", "3600"]
    # It is to go on all the while, and not to take a processor.
    words += ["--span", str(8 << 20), "--pause", "2000"]
    with subprocess.Popen([load.program(), *words], stderr=subprocess.PIPE, text=True) as busy:
        try:
            for _ in range(ROUNDS // 5):
                misbehave(chance, daemon)
            before = resident_bytes(daemon.pid)
            for _ in range(ROUNDS):
                misbehave(chance, daemon)
            growth = resident_bytes(daemon.pid) - before
            assert busy.poll() is None, busy.stderr and busy.stderr.read()
        finally:
            busy.kill()
        assert busy.stderr is not None
        assert busy.stderr.read() == ""
    print("growth", growth)
    assert growth < GROWTH_BYTES
