"""Persistent reservations that the disk keeps as well: two daemons, with initiators at each."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from scsi2nvme import engine
from scsi2nvme.commands.persistent_reserve_out import PARAMETER_LIST
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.reservations import PTPL_CLEAR, PTPL_SET
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.disk_reservations import DiskReservations, parse_report
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import MemoryStore
from tests.commands.reservations import (
    CONFLICT,
    EA,
    GOOD,
    INVALID_PARAMETER,
    PREEMPTED,
    RELEASED,
    TYPES,
    UNREGISTERED,
    WE,
    WE_AR,
    WE_RO,
    access,
    attentions,
    move,
    out,
    outcome,
    read_keys,
    read_reservation,
    registered,
)
from tests.model_controller import ModelController
from tests.model_reservations import SharedDisk
from tests.support import Bench, make_facts, make_nexus, row

ONE, TWO = b"1" * 16, b"2" * 16
ONE_KEY = (5, 0x55, 0x04)  # INSUFFICIENT REGISTRATION RESOURCES
POWER_ON = (6, 0x29, 0x00)


def daemon(
    disk: SharedDisk, host: bytes, store: MemoryStore | None = None, **options: object
) -> Bench:
    """Return a daemon's logical unit on a disk, with the nexuses a, b and c."""
    facts = make_facts(**options)  # type: ignore[arg-type]
    lu = LogicalUnit(facts, store)
    lu.reservations = DiskReservations(lu, host)
    model = ModelController(facts)
    disk.join(model, host)
    bench = Bench(lu, model, make_nexus("a", lu))
    bench.others = {"a": bench.nexus}
    for name in "bc":
        bench.other(name)
    return bench


@pytest.fixture
def disk() -> SharedDisk:
    return SharedDisk()


@pytest.fixture
def one(disk: SharedDisk) -> Bench:
    return daemon(disk, ONE)


@pytest.fixture
def two(disk: SharedDisk) -> Bench:
    return daemon(disk, TWO)


def look(bench: Bench) -> None:
    """Have a daemon look, as when the disk has notified it."""
    reservations = bench.lu.reservations
    assert isinstance(reservations, DiskReservations)
    assert bench.model.play(reservations.look()).status is Status.GOOD


def sent(bench: Bench) -> list[tuple[int, int]]:
    """Return opcode and dword 10 of the commands that have changed reservations."""
    changing = (
        Opcode.RESERVATION_REGISTER,
        Opcode.RESERVATION_ACQUIRE,
        Opcode.RESERVATION_RELEASE,
    )
    return [(each.opcode, each.cdw10) for each in bench.model.executed if each.opcode in changing]


def test_a_host_s_name_is_taken_back_from_whom_it_was_lent_to(one: Bench) -> None:
    """Who is cancelled does not know whether it was, or another has it."""
    reservations, nexus = one.lu.reservations, one.others["a"]
    assert isinstance(reservations, DiskReservations)
    assert not reservations.taken_back("another")
    look(one)
    assert not reservations.restricts(nexus)
    assert one.model.play(reservations.lend("this one")).status is Status.GOOD
    assert reservations.restricts(nexus)
    assert not reservations.taken_back("another")
    assert reservations.taken_back("this one")
    assert reservations.restricts(nexus)  # nobody knows what has become of it
    look(one)
    assert not reservations.restricts(nexus)
    assert out(one, "a", "REGISTER", 0, 1) == GOOD


def test_what_is_acknowledged_holds_on_the_disk(one: Bench, two: Bench, disk: SharedDisk) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert disk.reservation.keys == {ONE.hex(): 1}
    assert out(one, "a", "RESERVE", 1, kind=WE_RO) == GOOD
    assert (disk.reservation.type, disk.reservation.holder) == (3, ONE.hex())
    assert access(two, "a") == (True, False)
    assert access(one, "a") == (True, True)
    assert read_keys(two) == (1, [1])
    assert read_reservation(two) == (1, WE_RO)
    assert out(one, "a", "RELEASE", 1, kind=WE_RO) == GOOD
    assert access(two, "a") == (True, True)
    assert out(one, "a", "REGISTER", 1, 0) == GOOD
    assert disk.reservation.keys == {}


@pytest.mark.parametrize("kind", TYPES)
def test_types_are_carried_one_to_one(kind: int, one: Bench, two: Bench) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(two, "a", "REGISTER", 0, 2) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=kind) == GOOD
    key = 0 if kind > 6 else 1
    assert read_reservation(one) == read_reservation(two) == (key, kind)
    assert access(one, "a") == (True, True)
    admits, reads = kind > 4, kind in (1, 5, 7)
    assert access(two, "a") == (admits or reads, admits)
    assert access(two, "b") == (reads, False)  # which is not registered, though its host is
    assert access(one, "b") == (reads, False)


def test_fencing(one: Bench, two: Bench) -> None:
    """As fence_scsi does it: all register, one holds, the other is preempted and aborted."""
    assert out(one, "a", "REGISTER AND IGNORE EXISTING KEY", 0, 1) == GOOD
    assert out(two, "a", "REGISTER AND IGNORE EXISTING KEY", 0, 2) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=WE_RO) == GOOD
    assert access(two, "a") == (True, True)
    assert out(one, "a", "PREEMPT AND ABORT", 1, 2, kind=WE_RO) == GOOD
    assert outcome(two.do("WRITE (10)", nexus=two.nexus)) == UNREGISTERED
    assert access(two, "a") == (True, False)
    assert registered(two).keys() & {two.nexus.key} == set()
    assert read_keys(two)[1] == [1]
    assert out(two, "a", "PREEMPT AND ABORT", 2, 1, kind=WE_RO) == CONFLICT
    assert access(one, "a") == (True, True)


def test_the_holder_is_preempted(one: Bench, two: Bench, disk: SharedDisk) -> None:
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=WE) == GOOD
    assert access(two, "a") == (True, False)
    assert out(two, "a", "PREEMPT", 2, 1, kind=EA) == GOOD
    look(one)
    assert attentions(one, "a") == [UNREGISTERED]
    assert attentions(one, "b") == []
    one.lu.take_attention(one.nexus)
    assert access(one, "a") == (False, False)
    assert read_reservation(one) == (2, EA)
    assert disk.reservation.keys == {TWO.hex(): 2}


def test_clear_is_told_everywhere(one: Bench, two: Bench, disk: SharedDisk) -> None:
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(two, "a", "CLEAR", 2) == GOOD
    look(one)
    assert attentions(one, "a") == [PREEMPTED]
    assert (disk.reservation.keys, registered(one), registered(two)) == ({}, {}, {})


def test_release_is_told_to_registrants(one: Bench, two: Bench) -> None:
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(two, "a", "RESERVE", 2, kind=WE_RO) == GOOD
    look(one)
    assert out(two, "a", "RELEASE", 2, kind=WE_RO) == GOOD
    look(one)
    assert attentions(one, "a") == [RELEASED]
    assert attentions(two, "a") == []


def test_all_registrants_of_a_daemon_have_one_key(one: Bench, disk: SharedDisk) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "b", "REGISTER", 0, 2) == ONE_KEY
    assert out(one, "b", "REGISTER", 0, 1) == GOOD
    assert read_keys(one) == (2, [1, 1])
    assert out(one, "a", "REGISTER", 1, 7) == ONE_KEY
    assert out(one, "b", "REGISTER", 1, 0) == GOOD
    assert disk.reservation.keys == {ONE.hex(): 1}
    assert out(one, "a", "REGISTER", 1, 7) == GOOD
    assert disk.reservation.keys == {ONE.hex(): 7}


def test_nexuses_of_a_daemon_are_told_apart_here(one: Bench, two: Bench, disk: SharedDisk) -> None:
    for name in "ab":
        assert out(one, name, "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=WE) == GOOD
    assert out(one, "b", "RESERVE", 1, kind=WE) == CONFLICT
    assert access(one, "b") == (True, False)
    assert one.lu.reservations.restricts(one.other("b"))
    assert out(one, "a", "REGISTER", 1, 0) == GOOD  # the holder, while its host stays registered
    assert (disk.reservation.type, disk.reservation.keys) == (0, {ONE.hex(): 1})
    assert access(one, "b") == access(two, "a") == (True, True)


def test_a_key_preempts_all_that_have_it(one: Bench, two: Bench, disk: SharedDisk) -> None:
    for name in "ab":
        assert out(one, name, "REGISTER", 0, 1) == GOOD
    assert out(two, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=EA) == GOOD
    assert out(one, "a", "PREEMPT", 1, 1, kind=WE) == GOOD
    assert registered(one) == {one.nexus.key: 1}
    assert attentions(one, "b") == [UNREGISTERED]
    assert (disk.reservation.keys, disk.reservation.type) == ({ONE.hex(): 1}, 1)


def test_who_preempts_itself_is_gone(one: Bench, two: Bench, disk: SharedDisk) -> None:
    for bench in (one, two):
        assert out(bench, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "PREEMPT", 1, 1, kind=WE) == GOOD
    assert (disk.reservation.keys, registered(one)) == ({}, {})
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "PREEMPT", 1, 1, kind=WE) == GOOD
    assert disk.reservation.keys == {}


def test_all_registrants_are_preempted_by_no_key(one: Bench, two: Bench) -> None:
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(one, "a", "PREEMPT", 1, 0, kind=WE_AR) == INVALID_PARAMETER
    assert out(one, "a", "RESERVE", 1, kind=WE_AR) == GOOD
    assert out(two, "a", "PREEMPT", 2, 0, kind=WE_AR) == GOOD
    assert read_keys(one)[1] == [2]
    assert attentions(one, "a") == [UNREGISTERED]


def test_the_reservation_moves_within_a_daemon(one: Bench, disk: SharedDisk) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=EA) == GOOD
    to = one.other("b").initiator
    assert move(one, "a", 1, 9, to) == ONE_KEY
    assert move(one, "a", 1, 9, to, unreg=1) == GOOD
    assert access(one, "a") == (False, False)
    assert access(one, "b") == (True, True)
    assert disk.reservation.keys == {ONE.hex(): 9}


def test_persistence_is_carried(one: Bench, disk: SharedDisk) -> None:
    assert out(one, "a", "REGISTER", 0, 1, aptpl=1) == GOOD
    assert disk.reservation.ptpl
    assert out(one, "a", "REGISTER", 1, 2) == GOOD
    assert not disk.reservation.ptpl
    assert sent(one) == [(0x0D, PTPL_SET), (0x0D, 2 | PTPL_CLEAR)]


def test_what_the_disk_cannot_is_refused(disk: SharedDisk) -> None:
    poor = daemon(disk, ONE, namespace={"rescap": 0b0000110})  # no persistence, two types
    assert out(poor, "a", "REGISTER", 0, 1, aptpl=1) == INVALID_PARAMETER
    assert out(poor, "a", "REGISTER", 0, 1) == GOOD
    assert out(poor, "a", "RESERVE", 1, kind=WE_RO) == (5, 0x24, 0)
    assert out(poor, "a", "RESERVE", 1, kind=EA) == GOOD
    told = poor.do("PERSISTENT RESERVE IN, REPORT CAPABILITIES", allocation_length=8)
    assert told.data_in.hex() == "00081c800a000000"


def test_full_status_tells_of_our_initiators_only(one: Bench, two: Bench) -> None:
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    full = two.do("PERSISTENT RESERVE IN, READ FULL STATUS", allocation_length=4096).data_in
    assert full[:4] == bytes([0, 0, 0, 2])
    assert full[8:16] == (2).to_bytes(8, "big")
    assert len(full) == 8 + int.from_bytes(full[4:8], "big") < 200


def test_what_never_reaches_the_disk_conflicts_here(one: Bench, two: Bench) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=EA) == GOOD
    assert outcome(two.do("START STOP UNIT", start=0)) == CONFLICT
    assert out(one, "a", "RELEASE", 1, kind=EA) == GOOD
    assert outcome(two.do("START STOP UNIT", start=0)) == GOOD


def test_reserve_is_here_alone_but_knows_of_the_others(one: Bench, two: Bench) -> None:
    assert outcome(one.do("RESERVE (6)")) == GOOD
    assert outcome(one.do("READ (10)", nexus=one.other("b"))) == CONFLICT
    assert access(two, "a") == (True, True)
    assert outcome(one.do("RELEASE (6)")) == GOOD
    assert out(two, "a", "REGISTER", 0, 2) == GOOD
    assert outcome(one.do("RESERVE (6)")) == CONFLICT


def test_a_daemon_that_begins_anew_is_who_it_was(disk: SharedDisk, two: Bench) -> None:
    store = MemoryStore()
    one = daemon(disk, ONE, store)
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=EA) == GOOD
    again = daemon(disk, ONE, store)
    assert access(two, "a") == (False, False)
    assert access(again, "a") == (True, True)
    assert access(again, "b") == (False, False)
    assert read_reservation(again) == (1, EA)


def test_a_daemon_that_was_fenced_while_it_was_gone(disk: SharedDisk, two: Bench) -> None:
    store = MemoryStore()
    one = daemon(disk, ONE, store)
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=WE_RO) == GOOD
    assert out(two, "a", "PREEMPT AND ABORT", 2, 1, kind=WE_RO) == GOOD
    again = daemon(disk, ONE, store)
    assert outcome(again.do("WRITE (10)")) == UNREGISTERED
    assert access(again, "a") == (True, False)
    third = daemon(disk, ONE, store)
    assert registered(third) == {}


def test_a_change_that_ended_with_the_daemon_is_taken_over(disk: SharedDisk) -> None:
    store = MemoryStore()
    one = daemon(disk, ONE, store)
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    disk.reservation.register(ONE.hex(), 2, 1, 5, ignore=False)  # and the table was not saved
    disk.reservation.acquire(ONE.hex(), 0, 2, 5, 0)
    again = daemon(disk, ONE, store)
    assert read_keys(again)[1] == [5]
    assert read_reservation(again) == (5, EA)
    assert access(again, "a") == (True, True)
    fresh = daemon(disk, ONE)  # whose table is lost: its host is registered for nobody
    assert read_keys(fresh)[1] == [5]
    assert access(fresh, "a") == (False, False)
    assert out(fresh, "a", "REGISTER", 0, 6) == GOOD
    assert disk.reservation.keys == {ONE.hex(): 6}


def test_a_disk_that_lost_its_power(one: Bench, disk: SharedDisk) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    disk.reservation.power_lost()
    look(one)
    assert attentions(one, "a") == [POWER_ON]
    assert registered(one) == {}


def test_nothing_has_changed_where_the_disk_refuses(one: Bench, two: Bench) -> None:
    assert out(one, "a", "REGISTER", 0, 1) == GOOD
    one.model.faults[Opcode.RESERVATION_ACQUIRE] = [0x083]
    assert out(one, "a", "RESERVE", 1, kind=EA) == CONFLICT
    assert read_reservation(one) is None
    assert access(two, "a") == (True, True)


def begun(bench: Bench, name: str, key: int) -> Generator[object, object, Result]:
    """Begin a REGISTER."""
    cdb = row("PERSISTENT RESERVE OUT, REGISTER").build(parameter_list_length=24)
    data = PARAMETER_LIST.build(service_action_key=key)
    return engine.run(engine.select(bench.other(name), 0, cdb), data)


def asked_next(
    translation: Generator[object, object, Result], bench: Bench, command: NvmeCommand
) -> NvmeCommand:
    """Execute a command of a translation, and return the next."""
    (completion,) = bench.model.execute(command)
    asked = translation.send(completion)
    assert isinstance(asked, NvmeCommand)
    return asked


@pytest.mark.parametrize("ends", [False, True])
def test_nobody_slips_in_beside_who_registers(ends: bool, one: Bench, two: Bench) -> None:
    """The disk lets all of a host pass as soon as one is registered, whatever we know by then."""
    assert out(two, "a", "REGISTER", 0, 2) == GOOD
    assert out(two, "a", "RESERVE", 2, kind=WE_RO) == GOOD
    look(one)
    reservations, b = one.lu.reservations, one.other("b")
    assert not reservations.restricts(b)  # the disk stops it
    seen: list[bool] = []
    one.lu.on_change = lambda: seen.append(reservations.restricts(b))
    first = begun(one, "a", 1)
    report = next(first)
    assert isinstance(report, NvmeCommand)
    register = asked_next(first, one, report)
    assert register.opcode == Opcode.RESERVATION_REGISTER
    assert seen == [True]  # before the disk knows
    if ends:
        one.model.execute(register)
        first.close()
        assert reservations.restricts(b)
        assert access(one, "b") == (True, False)
    else:
        (completion,) = one.model.execute(register)
        with pytest.raises(StopIteration):
            first.send(completion)
    assert all(seen)


def test_nobody_waits_for_service_actions_without_end(one: Bench) -> None:
    cdb = row("READ (16)").build(transfer_length=1)
    reading = engine.run(engine.select(one.other("a"), 0, cdb), b"")
    report = next(reading)
    assert isinstance(report, NvmeCommand)
    (completion,) = one.model.execute(report)
    assert out(one, "b", "REGISTER", 0, 1) == GOOD
    asked = reading.send(completion)
    assert isinstance(asked, tuple)
    assert [each.opcode for each in asked] == [Opcode.READ]
    reading.close()


def test_two_service_actions_are_one_after_the_other(one: Bench) -> None:
    first, second = begun(one, "a", 1), begun(one, "b", 1)
    report = next(first)
    waiting = next(second)
    assert getattr(report, "opcode", None) == Opcode.RESERVATION_REPORT
    assert not hasattr(waiting, "opcode")  # it asks the controller for nothing yet
    first.close()
    assert getattr(second.send(None), "opcode", None) == Opcode.RESERVATION_REPORT
    second.close()
    assert out(one, "c", "REGISTER", 0, 1) == GOOD


@pytest.mark.parametrize("length", [8, 16])
def test_a_report_is_not_trusted(length: int) -> None:
    entry = 64 if length == 16 else 24
    header = bytearray(max(entry, 24))
    for offset, value in ((4, 9), (5, 200), (4, 1)):
        bad = bytearray(header)
        bad[offset] = value
        with pytest.raises(ValueError, match=r"is no report|nobody holds"):
            parse_report(bytes(bad), length)
    assert parse_report(bytes(header), length).keys == {}


def test_a_senseless_report_is_told(one: Bench) -> None:
    one.model.io[Opcode.RESERVATION_REPORT] = lambda command: b"\xff" * command.data_in
    result = one.do("PERSISTENT RESERVE IN, READ KEYS", allocation_length=8)
    assert result.sense is not None
    assert result.sense.code == INTERNAL_TARGET_FAILURE


def test_many_hosts_are_read_in_several_commands(one: Bench, disk: SharedDisk) -> None:
    for number in range(100):
        disk.reservation.keys[(number + 9).to_bytes(16, "little").hex()] = number + 1
    assert read_keys(one)[1] == list(range(1, 101))


def test_a_short_host_identifier(disk: SharedDisk) -> None:
    one, two = daemon(disk, b"1" * 8), daemon(disk, b"2" * 8)
    for bench, key in ((one, 1), (two, 2)):
        assert out(bench, "a", "REGISTER", 0, key) == GOOD
    assert out(one, "a", "RESERVE", 1, kind=EA) == GOOD
    assert access(two, "a") == (False, False)
    assert read_reservation(two) == (1, EA)
